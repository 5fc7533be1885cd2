/**
 * A registry's failures in the sentences of Docker and of Go's HTTP client, which tools match on.
 * Spec: OCI distribution-spec 1.1, "Error Codes"; RFC 6750, section 3.1.
 */
import { EngineError, type ErrorKind, readAll, sentenceOf, unavailable } from "#base";
import { familiarName, familiarReference, type Reference } from "#oci";

import { challengesOf } from "./challenge.ts";
import { ANSWER_LIMIT_BYTES } from "./options.ts";

/** An error that the registry itself stated. */
export class RegistryError extends EngineError {
  /** As in the specification: "MANIFEST_UNKNOWN"; "" where the registry gave none. */
  readonly code: string;
  readonly status: number;

  constructor(request: { kind: ErrorKind; message: string; code: string; status: number }) {
    super(request.kind, request.message);
    this.code = request.code;
    this.status = request.status;
  }
}

/** Codes that Docker knows, with what they say when the registry adds nothing. */
const CODES: Readonly<Record<string, { kind: ErrorKind; message: string }>> = {
  UNKNOWN: { kind: "internal", message: "unknown error" },
  UNSUPPORTED: { kind: "invalid", message: "The operation is unsupported." },
  UNAUTHORIZED: { kind: "unauthorized", message: "authentication required" },
  DENIED: { kind: "forbidden", message: "requested access to the resource is denied" },
  UNAVAILABLE: { kind: "unavailable", message: "service unavailable" },
  TOOMANYREQUESTS: { kind: "unavailable", message: "too many requests" },
  DIGEST_INVALID: { kind: "invalid", message: "provided digest did not match uploaded content" },
  SIZE_INVALID: { kind: "invalid", message: "provided length did not match content length" },
  RANGE_INVALID: { kind: "invalid", message: "invalid content range" },
  NAME_INVALID: { kind: "invalid", message: "invalid repository name" },
  TAG_INVALID: { kind: "invalid", message: "manifest tag did not match URI" },
  NAME_UNKNOWN: { kind: "notFound", message: "repository name not known to registry" },
  MANIFEST_UNKNOWN: { kind: "notFound", message: "manifest unknown" },
  MANIFEST_INVALID: { kind: "invalid", message: "manifest invalid" },
  MANIFEST_UNVERIFIED: { kind: "invalid", message: "manifest failed signature verification" },
  MANIFEST_BLOB_UNKNOWN: { kind: "invalid", message: "blob unknown to registry" },
  BLOB_UNKNOWN: { kind: "notFound", message: "blob unknown to registry" },
  BLOB_UPLOAD_UNKNOWN: { kind: "notFound", message: "blob upload unknown to registry" },
  BLOB_UPLOAD_INVALID: { kind: "invalid", message: "blob upload invalid" },
};

interface StatedError {
  readonly code: string;
  readonly sentence: string;
}

/** The error of an answer that is none of 1xx to 3xx; takes its body. */
export async function answerError(response: Response): Promise<RegistryError> {
  const { status } = response;
  const oauth = oauthErrors(response);
  const body = await bodyErrors(response);
  const stated = oauth.length > 0 ? oauth : body;
  const [first] = stated;
  if (first) {
    const several = stated.map(({ sentence }) => sentence);
    const message = several.length === 1 ? first.sentence : `errors:\n${several.join("\n")}\n`;
    const kind = CODES[first.code]?.kind ?? "internal";
    return new RegistryError({ kind, message, code: first.code, status });
  }
  const message = `received unexpected HTTP status: ${status} ${response.statusText}`.trimEnd();
  return new RegistryError({ kind: "unavailable", message, code: "", status });
}

function stated(code: unknown, message: unknown): StatedError {
  const known = typeof code === "string" && CODES[code] ? code : "UNKNOWN";
  const text = typeof message === "string" && message !== "" ? message : CODES[known]?.message;
  return { code: known, sentence: `${known.toLowerCase().replaceAll("_", " ")}: ${text}` };
}

/** A token's failure is named in the challenge; it says more than the body. */
function oauthErrors(response: Response): StatedError[] {
  if (response.status !== 401) return [];
  for (const { scheme, parameters } of challengesOf(response)) {
    if (scheme !== "bearer") continue;
    const description = parameters.get("error_description");
    if (parameters.get("error") === "invalid_token") return [stated("UNAUTHORIZED", description)];
    if (parameters.get("error") === "insufficient_scope") return [stated("DENIED", description)];
  }
  return [];
}

const STATUS_CODES: Readonly<Record<number, string>> = {
  401: "UNAUTHORIZED",
  403: "DENIED",
  429: "TOOMANYREQUESTS",
};

async function bodyErrors(response: Response): Promise<StatedError[]> {
  const { status } = response;
  const text = await bodyText(response);
  if (status >= 500) return [];
  const json = asJson(text);
  if (typeof json?.["details"] === "string" && json["details"] !== "") {
    return [stated(STATUS_CODES[status], json["details"])];
  }
  const errors: unknown = json?.["errors"];
  if (Array.isArray(errors) && errors.length > 0) {
    return (errors as { code?: unknown; message?: unknown }[])
      .slice(0, 20)
      .map((error) => stated(error?.code, error?.message));
  }
  const code = STATUS_CODES[status];
  if (code) return [stated(code, undefined)];
  const why = json ? "no error details found in HTTP response body" : "not a JSON document";
  const quoted = JSON.stringify(text.slice(0, 200));
  const sentence = `error parsing HTTP ${status} response body: ${why}: ${quoted}`;
  return [{ code: "UNKNOWN", sentence }];
}

async function bodyText(response: Response): Promise<string> {
  if (!response.body) return "";
  try {
    const tooLarge = () => unavailable("the registry's error is too long");
    const bytes = await readAll(response.body, { limitBytes: ANSWER_LIMIT_BYTES, tooLarge });
    return new TextDecoder().decode(bytes);
  } catch {
    // The status alone must do when the body does not come.
    return "";
  }
}

function asJson(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** The failure of a pull, with Docker's words around the registry's. */
export function pullError(reference: Reference, cause: unknown): unknown {
  if (!(cause instanceof RegistryError)) return cause;
  const name = familiarName(reference);
  switch (cause.code) {
    case "DENIED":
      return new EngineError(
        "notFound",
        `pull access denied for ${name}, repository does not exist or may require 'docker login': ${cause.message}`,
        { cause },
      );
    case "MANIFEST_UNKNOWN":
      return new EngineError(
        "notFound",
        `manifest for ${familiarReference(reference)} not found: ${cause.message}`,
        { cause },
      );
    case "NAME_UNKNOWN":
      return new EngineError("notFound", `repository ${name} not found: ${cause.message}`, {
        cause,
      });
    default:
      return cause;
  }
}

/** What a failed exchange says, as Go's client says it: `Get "https://x/v2/": dial tcp 1.2.3.4:443: …`. */
export function exchangeError(request: { method: string; url: URL; cause: unknown }): EngineError {
  const { method, url, cause } = request;
  const verb = `${method.slice(0, 1)}${method.slice(1).toLowerCase()}`;
  return unavailable(`${verb} "${shownUrl(url)}": ${exchangeReason(url, cause)}`, { cause });
}

function shownUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  return shown.href;
}

/** Worth another attempt: a busy or failing server, or a connection that broke; not a host that is not there. */
export function isTransient(cause: unknown): boolean {
  if (cause instanceof RegistryError) return cause.status >= 500 || cause.status === 429;
  return /connection reset by peer|Temporary failure/.test(sentenceOf(cause));
}

/** The code of a failed fetch, "" when it has none. */
export const failureCode = (cause: unknown): string => {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
};

const UNTRUSTED = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_UNTRUSTED",
]);

/** True when only the authority was unknown: another set of authorities may know it. */
export const isUntrusted = (cause: unknown): boolean => UNTRUSTED.has(failureCode(cause));

function exchangeReason(url: URL, cause: unknown): string {
  const host = url.hostname;
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const dial = `dial tcp ${host}:${port}: connect`;
  if (isUntrusted(cause)) {
    return "tls: failed to verify certificate: x509: certificate signed by unknown authority";
  }
  switch (failureCode(cause)) {
    case "ECONNREFUSED":
      return `${dial}: connection refused`;
    case "EHOSTUNREACH":
      return `${dial}: no route to host`;
    case "ENETUNREACH":
      return `${dial}: network is unreachable`;
    case "ENOTFOUND":
      return `dial tcp: lookup ${host}: no such host`;
    case "EAI_AGAIN":
      return `dial tcp: lookup ${host}: Temporary failure in name resolution`;
    case "EPROTO":
      return "http: server gave HTTP response to HTTPS client";
    case "ECONNRESET":
      return "read: connection reset by peer";
    case "ETIMEDOUT":
      return "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)";
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID":
      return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `tls: failed to verify certificate: x509: certificate is not valid for ${host}`;
    default:
      return sentenceOf(cause);
  }
}
