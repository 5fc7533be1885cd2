/**
 * Names of images as people write them (`busybox`, `localhost:5000/a/b:1@sha256:…`) and as the engine keeps
 * them: whole (`docker.io/library/busybox:latest`), or familiar, for people's eyes.
 * Spec: the distribution project's reference grammar and its rules for Docker Hub's short names.
 */
import { invalid } from "#base";

import { type Digest, isDigest, parseDigest } from "./digest.ts";

export interface Reference {
  /** `docker.io`, `localhost:5000`, `[::1]:80`. */
  readonly domain: string;
  /** `library/busybox`. */
  readonly path: string;
  readonly tag: string | null;
  readonly digest: Digest | null;
}

export const DEFAULT_DOMAIN = "docker.io";
export const DEFAULT_TAG = "latest";
const LEGACY_DOMAIN = "index.docker.io";
const OFFICIAL = "library/";
const PATH_LENGTH_LIMIT = 255;
/** Far beyond what the grammar allows: longer texts are not looked at, so no expression can be made to crawl. */
const TEXT_LENGTH_LIMIT = 4096;

const COMPONENT = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const DOMAIN = `(?:${COMPONENT}(?:\\.${COMPONENT})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?`;
const PATH_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const PATH = `${PATH_COMPONENT}(?:/${PATH_COMPONENT})*`;
const TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
const DIGEST = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
const WHOLE = new RegExp(`^(${DOMAIN})/(${PATH})(?::(${TAG}))?(?:@(${DIGEST}))?$`);
const WHOLE_TAG = new RegExp(`^${TAG}$`);
const IDENTIFIER = /^[a-f0-9]{64}$/;

/**
 * A name as people write it; a missing tag stays missing.
 * @throws EngineError "invalid" in the distribution library's sentences
 */
export function parseReference(text: string): Reference {
  if (IDENTIFIER.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  if (text.length > TEXT_LENGTH_LIMIT) throw invalid("invalid reference format");
  const { domain, remainder } = splitDomain(text);
  const remote = remainder.split(":", 1)[0] ?? "";
  if (remote.toLowerCase() !== remote) {
    throw invalid(`invalid reference format: repository name (${remote}) must be lowercase`);
  }
  return parseWhole(`${domain}/${remainder}`);
}

/** What an image may be called besides its name: its digest, with or without `sha256:`. */
export type AnyReference = Reference | { readonly id: Digest };

/** A name, `sha256:` and 64 digits, or 64 bare digits, which always mean an id. */
export function parseAnyReference(text: string): AnyReference {
  if (IDENTIFIER.test(text)) return { id: `sha256:${text}` };
  if (isDigest(text)) return { id: text };
  return parseReference(text);
}

/** @throws EngineError "invalid" for what cannot be a tag */
export function parseTag(text: string): string {
  if (!WHOLE_TAG.test(text)) throw invalid("invalid tag format");
  return text;
}

/** `docker.io/library/busybox`. */
export const repositoryOf = (reference: Pick<Reference, "domain" | "path">): string =>
  `${reference.domain}/${reference.path}`;

/** The tag `latest` where neither tag nor digest is given. */
export const withDefaultTag = (reference: Reference): Reference =>
  reference.tag === null && reference.digest === null
    ? { ...reference, tag: DEFAULT_TAG }
    : reference;

/** Whole: `docker.io/library/busybox:latest`. */
export const formatReference = (reference: Reference): string =>
  `${repositoryOf(reference)}${suffixOf(reference)}`;

/** `busybox`, `someone/thing`, `localhost:5000/x`: as Docker shows repositories. */
export function familiarName({ domain, path }: Pick<Reference, "domain" | "path">): string {
  if (domain !== DEFAULT_DOMAIN) return `${domain}/${path}`;
  const official = path.startsWith(OFFICIAL) && !path.slice(OFFICIAL.length).includes("/");
  return official ? path.slice(OFFICIAL.length) : path;
}

/** `busybox:latest`: as Docker shows references. */
export const familiarReference = (reference: Reference): string =>
  `${familiarName(reference)}${suffixOf(reference)}`;

const suffixOf = ({ tag, digest }: Reference): string =>
  `${tag === null ? "" : `:${tag}`}${digest === null ? "" : `@${digest}`}`;

/** The first part is a registry only if it could not be a namespace: a dot, a port, an upper-case letter, or localhost. */
function splitDomain(text: string): { domain: string; remainder: string } {
  const slash = text.indexOf("/");
  const first = text.slice(0, slash);
  const rest = text.slice(slash + 1);
  const isDomain =
    slash !== -1 && (/[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first);
  const domain = !isDomain || first === LEGACY_DOMAIN ? DEFAULT_DOMAIN : first;
  const remainder = isDomain ? rest : text;
  const short = domain === DEFAULT_DOMAIN && !remainder.includes("/");
  return { domain, remainder: short ? `${OFFICIAL}${remainder}` : remainder };
}

function parseWhole(text: string): Reference {
  const match = WHOLE.exec(text);
  if (!match) {
    const lowered = WHOLE.test(text.toLowerCase());
    throw invalid(
      `invalid reference format${lowered ? ": repository name must be lowercase" : ""}`,
    );
  }
  const [, domain = "", path = "", tag = null, digest] = match;
  if (path.length > PATH_LENGTH_LIMIT) {
    throw invalid(
      `invalid reference format: repository name must not be more than ${PATH_LENGTH_LIMIT} characters`,
    );
  }
  return { domain, path, tag, digest: digest === undefined ? null : checkedDigest(digest) };
}

function checkedDigest(text: string): Digest {
  if (text.startsWith("sha256:") && text.length !== "sha256:".length + 64) {
    throw invalid("invalid checksum digest length");
  }
  return parseDigest(text);
}
