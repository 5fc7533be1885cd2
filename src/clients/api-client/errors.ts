/** What a daemon answered, or why it could not be asked, as kinds and sentences. */
import { EngineError, type ErrorKind } from "#base";

/** An answer with a status of 400 or more; the message is the server's own, word for word. */
export class ApiError extends EngineError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(kindOfStatus(status), message);
    this.name = "ApiError";
    this.status = status;
  }
}

/** Why no connection came to be. */
export type ConnectFailure = "notRunning" | "permission" | "other";

/** The daemon could not be reached, or went away in the middle of an answer. */
export class ConnectionError extends EngineError {
  readonly failure: ConnectFailure;
  /** The endpoint as Docker writes it: `unix:///run/naru/naru.sock`. */
  readonly endpoint: string;

  constructor(failure: ConnectFailure, endpoint: string, message: string, options?: ErrorOptions) {
    super("unavailable", message, options);
    this.name = "ConnectionError";
    this.failure = failure;
    this.endpoint = endpoint;
  }
}

const kinds: Readonly<Record<number, ErrorKind>> = {
  304: "notModified",
  400: "invalid",
  401: "unauthorized",
  403: "forbidden",
  404: "notFound",
  405: "notImplemented",
  409: "conflict",
  413: "invalid",
  429: "unavailable",
  501: "notImplemented",
  502: "unavailable",
  503: "unavailable",
  504: "unavailable",
};

/** The kind behind an HTTP status; what has no better name is "internal" (5xx) or "invalid" (4xx). */
export function kindOfStatus(status: number): ErrorKind {
  return kinds[status] ?? (status >= 500 ? "internal" : "invalid");
}

/** The `message` of an error's body; without one the body itself, or the status. */
export function messageOf(status: number, body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && "message" in parsed) {
      if (typeof parsed.message === "string" && parsed.message !== "") return parsed.message;
    }
  } catch {
    // Not JSON: a proxy or something that is no Docker daemon; its words are all there is.
  }
  return body.trim() === "" ? `the daemon answered with status ${status}` : body.trim();
}
