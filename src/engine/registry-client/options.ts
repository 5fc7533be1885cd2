/** What an operator says about registries, and the bounds that keep a hostile one harmless. */
import type { Clock } from "#base";

export interface RegistryOptions {
  /** Hosts (`registry.local:5000`) and CIDRs whose certificate is not checked and where plain http will do. */
  readonly insecureRegistries?: readonly string[];
  /** Base addresses asked before Docker Hub. They never get Docker Hub's credentials. */
  readonly mirrors?: readonly string[];
  /** Like /etc/docker/certs.d: `<host:port>/*.crt`, `*.cert` with `*.key`. */
  readonly certificatesDirectory?: string;
  readonly userAgent?: string;
  readonly clock?: Clock;
  readonly limits?: Partial<RegistryLimits>;
}

export interface RegistryLimits {
  /** From the request to the answer's head. */
  readonly headersTimeoutMs: number;
  /** Between two pieces of a body. */
  readonly stallTimeoutMs: number;
  /** Attempts of one request, and of one blob without notable progress in between. */
  readonly attempts: number;
  /** The first pause between attempts; it doubles. */
  readonly backOffMs: number;
  /** A blob that got this much further has earned its attempts anew. */
  readonly progressBytes: number;
}

export const DEFAULT_LIMITS: RegistryLimits = {
  headersTimeoutMs: 30_000,
  stallTimeoutMs: 60_000,
  attempts: 5,
  backOffMs: 500,
  progressBytes: 8 * 1024 * 1024,
};

/** Redirects of one request. */
export const REDIRECT_LIMIT = 10;
/** An error's or a token's body. */
export const ANSWER_LIMIT_BYTES = 1024 * 1024;
/** Tags of one repository. */
export const TAG_LIMIT = 100_000;
