/**
 * One repository at one registry: manifests, blobs and tags, read and written.
 * Spec: OCI distribution-spec 1.1.
 */
import { type Clock, invalid, MANIFEST_LIMIT_BYTES, readAll, sentenceOf, unavailable } from "#base";
import {
  type Descriptor,
  type Digest,
  digestOf,
  isDigest,
  MANIFEST_MEDIA_TYPES,
  MEDIA_TYPE,
} from "#oci";

import type { Authorizer } from "./authorization.ts";
import { resumingStream } from "./blob-stream.ts";
import { challengesOf } from "./challenge.ts";
import { answerError, isTransient, RegistryError } from "./errors.ts";
import { type RegistryLimits, TAG_LIMIT } from "./options.ts";
import type { Answer, Exchange, Transport } from "./transport.ts";
import { mount, upload, type UploadRequest, type Uploaded } from "./upload.ts";

/** A manifest or index as the registry sent it; its digest is computed from the bytes. */
export interface FetchedManifest {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  /** The Content-Type, without parameters. */
  readonly mediaType: string;
}

/** What `send` needs besides the method: a path below the repository, or a whole address the registry gave. */
export type RepositoryExchange = Omit<Exchange, "url" | "authorization"> & {
  readonly to: string | URL;
};

const ACCEPT = [
  ...MANIFEST_MEDIA_TYPES,
  MEDIA_TYPE.dockerSchema1Signed,
  "application/json;q=0.1",
].join(", ");

export class Repository {
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  readonly #base: URL;
  readonly #limits: RegistryLimits;
  readonly #clock: Clock;

  constructor(request: {
    transport: Transport;
    authorizer: Authorizer;
    /** `https://host/v2/library/busybox/` */
    base: URL;
    limits: RegistryLimits;
    clock: Clock;
  }) {
    this.#transport = request.transport;
    this.#authorizer = request.authorizer;
    this.#base = request.base;
    this.#limits = request.limits;
    this.#clock = request.clock;
  }

  /**
   * A manifest or index. Its size is checked before it is read, its digest when one was asked for.
   * @throws RegistryError with the registry's code
   */
  async manifest(
    tagOrDigest: string,
    { signal, sizeBytes }: { signal: AbortSignal; sizeBytes?: number },
  ): Promise<FetchedManifest> {
    const to = `manifests/${tagOrDigest}`;
    const headers = { Accept: ACCEPT };
    const limitBytes = Math.min(sizeBytes ?? MANIFEST_LIMIT_BYTES, MANIFEST_LIMIT_BYTES);
    const { bytes, response } = await this.#document({
      exchange: { method: "GET", to, headers, signal },
      what: "manifest",
      limitBytes,
    });
    const digest = digestOf(bytes);
    if (isDigest(tagOrDigest) && digest !== tagOrDigest) {
      throw invalid(`manifest verification failed for digest ${tagOrDigest}`);
    }
    const mediaType = (response.headers.get("content-type") ?? "").split(";", 1)[0]?.trim() ?? "";
    return { bytes, digest, mediaType };
  }

  /** A small blob, whole and verified. */
  async blobDocument(
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    { signal, limitBytes }: { signal: AbortSignal; limitBytes: number },
  ): Promise<Uint8Array> {
    if (size > limitBytes) throw invalid(`blob ${digest} is larger than ${limitBytes} bytes`);
    const exchange = { method: "GET", to: `blobs/${digest}`, signal } as const;
    const { bytes } = await this.#document({ exchange, what: `blob ${digest}`, limitBytes: size });
    if (bytes.length !== size || digestOf(bytes) !== digest) {
      throw invalid(`filesystem layer verification failed for digest ${digest}`);
    }
    return bytes;
  }

  /**
   * A blob's bytes, resumed after cuts. Exactly `size` bytes or an error; the digest is for the reader to check,
   * which hashes them anyway.
   */
  blob(
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    signal: AbortSignal,
  ): ReadableStream<Uint8Array> {
    return resumingStream({
      sizeBytes: size,
      what: `blob ${digest}`,
      limits: this.#limits,
      clock: this.#clock,
      signal,
      open: async (offset) => {
        const whole = { method: "GET", to: `blobs/${digest}`, signal } as const;
        if (offset === 0) return await this.send(whole);
        try {
          return await this.send({ ...whole, headers: { Range: `bytes=${offset}-` } });
        } catch (thrown) {
          // Storage behind a registry may refuse ranges of what it compresses itself.
          if (thrown instanceof RegistryError && thrown.status === 416) return this.send(whole);
          throw thrown;
        }
      },
    });
  }

  /** All tags, in the registry's order. */
  async tags(signal: AbortSignal): Promise<string[]> {
    const tags: string[] = [];
    let to: string | URL | null = "tags/list?n=1000";
    while (to !== null) {
      const { bytes, response, url } = await this.#document({
        exchange: { method: "GET", to, signal },
        what: "tag list",
        limitBytes: MANIFEST_LIMIT_BYTES,
      });
      const page = tagsIn(bytes);
      tags.push(...page);
      if (tags.length > TAG_LIMIT) throw invalid("the repository has too many tags");
      to = page.length === 0 ? null : nextPage(response, url);
    }
    return tags;
  }

  /** The size of a blob that is there, null when it is not. */
  async blobSize(digest: Digest, signal: AbortSignal): Promise<number | null> {
    const { response } = await this.#answered({ method: "HEAD", to: `blobs/${digest}`, signal });
    if (response.status === 404) return null;
    if (!response.ok) throw await answerError(response);
    return Number(response.headers.get("content-length") ?? 0);
  }

  /** True when a manifest is there. */
  async hasManifest(digest: Digest, signal: AbortSignal): Promise<boolean> {
    const headers = { Accept: ACCEPT };
    const to = `manifests/${digest}`;
    const { response } = await this.#answered({ method: "HEAD", to, headers, signal });
    if (response.status === 404) return false;
    if (!response.ok) throw await answerError(response);
    return true;
  }

  /** Has a blob mounted from another repository of the same registry; false when it must be sent. */
  async mount(request: { digest: Digest; from: string; signal: AbortSignal }): Promise<boolean> {
    return await mount({ ...request, send: (exchange) => this.#answered(exchange) });
  }

  /** Sends a blob; the answer says what its bytes were. */
  async upload(request: UploadRequest): Promise<Uploaded> {
    return await upload({
      ...request,
      attempts: this.#limits.attempts,
      pause: (attempt) => this.#pause(attempt, request.signal),
      send: (exchange) => this.#answered(exchange),
    });
  }

  /** Puts a manifest under a tag or digest and answers its digest. */
  async putManifest(request: {
    tagOrDigest: string;
    bytes: Uint8Array<ArrayBuffer>;
    mediaType: string;
    signal: AbortSignal;
  }): Promise<Digest> {
    const { tagOrDigest, bytes, mediaType, signal } = request;
    const { response } = await this.#answered({
      method: "PUT",
      to: `manifests/${tagOrDigest}`,
      headers: { "Content-Type": mediaType },
      body: bytes,
      signal,
    });
    if (!response.ok) throw await answerError(response);
    await response.body?.cancel();
    return digestOf(bytes);
  }

  /** An exchange that must succeed; an unreachable or failing registry is tried again, in bounds. */
  async send(exchange: RepositoryExchange): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await this.#answered(exchange);
        if (answer.response.ok) return answer;
        throw await answerError(answer.response);
      } catch (cause) {
        if (attempt >= this.#limits.attempts || !isTransient(cause)) throw cause;
        await this.#pause(attempt, exchange.signal);
      }
    }
  }

  /** One exchange, authorized; a challenge is answered once. */
  async #answered(exchange: RepositoryExchange): Promise<Answer> {
    const url = typeof exchange.to === "string" ? new URL(exchange.to, this.#base) : exchange.to;
    const isOwn = url.origin === this.#base.origin;
    const about = { method: exchange.method, url, signal: exchange.signal };
    const sendOnce = async () => {
      const authorization = isOwn ? await this.#authorizer.header(about) : null;
      return await this.#transport.send({ ...exchange, url, authorization });
    };
    const first = await sendOnce();
    const isChallenge = first.response.status === 401 && first.url.origin === this.#base.origin;
    const canRepeat = !(exchange.body instanceof ReadableStream);
    if (!isChallenge || !isOwn || !canRepeat) return first;
    if (!this.#authorizer.renew(challengesOf(first.response))) return first;
    await first.response.body?.cancel();
    return await sendOnce();
  }

  async #document(request: {
    exchange: RepositoryExchange;
    what: string;
    limitBytes: number;
  }): Promise<{ bytes: Uint8Array; response: Response; url: URL }> {
    const { exchange, what, limitBytes } = request;
    const tooLarge = () => invalid(`${what} is larger than ${limitBytes} bytes`);
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.send(exchange);
      const { response, url } = answer;
      if (Number(response.headers.get("content-length") ?? 0) > limitBytes || !response.body) {
        answer.abort(tooLarge());
        throw tooLarge();
      }
      const stalled = setTimeout(
        () => answer.abort(unavailable(`read ${what}: i/o timeout`)),
        this.#limits.stallTimeoutMs,
      );
      try {
        return { bytes: await readAll(response.body, { limitBytes, tooLarge }), response, url };
      } catch (cause) {
        exchange.signal.throwIfAborted();
        answer.abort(unavailable("no longer wanted"));
        if (cause instanceof Error && "kind" in cause) throw cause;
        if (attempt >= this.#limits.attempts) {
          throw unavailable(`read ${what}: ${sentenceOf(cause)}`, { cause });
        }
        await this.#pause(attempt, exchange.signal);
      } finally {
        clearTimeout(stalled);
      }
    }
  }

  async #pause(attempt: number, signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(this.#limits.backOffMs * 2 ** (attempt - 1), signal);
  }
}

function tagsIn(bytes: Uint8Array): string[] {
  try {
    const page = JSON.parse(new TextDecoder().decode(bytes)) as { tags?: unknown } | null;
    const tags = page?.tags ?? [];
    if (Array.isArray(tags)) return tags.filter((tag): tag is string => typeof tag === "string");
  } catch {
    // told below
  }
  throw invalid("the registry's tag list is not one");
}

/** Spec: "Listing Tags": a Link header with rel="next". Only the same host is followed. */
function nextPage(response: Response, url: URL): URL | null {
  const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("link") ?? "")?.[1];
  const next = link === undefined ? null : URL.parse(link, url.href);
  return next && next.origin === url.origin && next.href !== url.href ? next : null;
}
