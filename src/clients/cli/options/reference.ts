/** Image names as people write them: which registry, which repository, which tag or digest. After distribution's rules. */
import { invalid } from "#base";

export interface ImageReference {
  /** `docker.io`, `localhost:5000`. */
  readonly domain: string;
  /** `library/busybox`. */
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

const DEFAULT_DOMAIN = "docker.io";
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const DOMAIN =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::\d+)?$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;

/** @throws EngineError "invalid" in docker's words */
export function parseReference(text: string): ImageReference {
  const wrong = () => invalid("invalid reference format");
  if (/^[a-f0-9]{64}$/.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !DIGEST.test(digest)) throw wrong();
  const named = at < 0 ? text : text.slice(0, at);
  const slash = named.lastIndexOf("/");
  const colon = named.indexOf(":", slash + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (tag !== undefined && !TAG.test(tag)) throw wrong();
  const { domain, path } = splitDomain(colon < 0 ? named : named.slice(0, colon));
  if (/[A-Z]/.test(path) && PATH.test(path.toLowerCase())) {
    throw invalid(`invalid reference format: repository name (${path}) must be lowercase`);
  }
  if (!PATH.test(path) || !DOMAIN.test(domain)) throw wrong();
  return { domain, path, tag, digest };
}

function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  let domain = slash >= 0 && isDomain ? first : DEFAULT_DOMAIN;
  let path = domain === DEFAULT_DOMAIN && !(slash >= 0 && isDomain) ? name : name.slice(slash + 1);
  if (domain === "index.docker.io") domain = DEFAULT_DOMAIN;
  if (domain === DEFAULT_DOMAIN && !path.includes("/")) path = `library/${path}`;
  return { domain, path };
}

/** The name without what everybody leaves out: `busybox`, `me/app`, `ghcr.io/me/app`. */
export function familiarName({ domain, path }: ImageReference): string {
  if (domain !== DEFAULT_DOMAIN) return `${domain}/${path}`;
  const short = path.replace(/^library\//, "");
  return short.includes("/") ? path : short;
}

/** The name with its tag or digest; `latest` where it has neither. */
export function familiarString(reference: ImageReference): string {
  const name = familiarName(reference);
  const tag = reference.tag ?? (reference.digest === undefined ? "latest" : undefined);
  return `${name}${tag === undefined ? "" : `:${tag}`}${reference.digest === undefined ? "" : `@${reference.digest}`}`;
}

/** The key under which credentials for a registry are stored. */
export const authKey = (domain: string): string =>
  domain === DEFAULT_DOMAIN ? "https://index.docker.io/v1/" : domain;
