/**
 * One exchange with a host: time-outs, TLS, and redirects followed by hand. Credentials never cross to another
 * host, and https is never left for http unless the operator allowed that host (CVE-2020-15157).
 */
import { unavailable } from "#base";

import { exchangeError, failureCode, isUntrusted } from "./errors.ts";
import { REDIRECT_LIMIT, type RegistryLimits } from "./options.ts";
import { systemAuthorities, type TlsOptions, type Trust } from "./trust.ts";

export interface Exchange {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent to the origin of `url` only. */
  readonly authorization?: string | null;
  readonly body?: Bun.BodyInit;
  readonly signal: AbortSignal;
  /** Uploads answer only when all is sent: no time-out for the head of the answer. */
  readonly isUpload?: boolean;
}

/** An answer, and who gave it after redirects. */
export interface Answer {
  readonly response: Response;
  readonly url: URL;
  /** Ends the connection when the body is no longer wanted. */
  abort(reason: Error): void;
}

export class Transport {
  readonly #trust: Trust;
  readonly #limits: RegistryLimits;
  readonly #userAgent: string;
  /** Hosts whose authority only the system's bundle knows. */
  readonly #needsSystem = new Set<string>();

  constructor(request: { trust: Trust; limits: RegistryLimits; userAgent: string }) {
    this.#trust = request.trust;
    this.#limits = request.limits;
    this.#userAgent = request.userAgent;
  }

  /** @throws EngineError "unavailable" in Go's words when there is no answer; the signal's reason when aborted */
  async send(exchange: Exchange): Promise<Answer> {
    const origin = exchange.url.origin;
    let url = exchange.url;
    for (let redirects = 0; ; redirects += 1) {
      const isOrigin = url.origin === origin;
      const authorization = isOrigin ? exchange.authorization : null;
      const answer = await this.#sendOnce({
        ...exchange,
        url,
        authorization: authorization ?? null,
      });
      const next = redirectOf(exchange, answer);
      if (!next) return answer;
      await answer.response.body?.cancel();
      await this.#checkRedirect(url, next);
      if (redirects === REDIRECT_LIMIT) {
        const cause = new Error(`stopped after ${REDIRECT_LIMIT} redirects`);
        throw exchangeError({ method: exchange.method, url, cause });
      }
      url = next;
    }
  }

  async #checkRedirect(from: URL, to: URL): Promise<void> {
    const refuse = (why: string) =>
      unavailable(`redirect from ${from.host} to ${to.protocol}//${to.host} refused: ${why}`);
    if (to.protocol !== "https:" && to.protocol !== "http:") throw refuse("unsupported protocol");
    const leavesTls = from.protocol === "https:" && to.protocol === "http:";
    if (leavesTls && !(await this.#trust.isInsecure(to.host))) throw refuse("it leaves https");
  }

  async #sendOnce(exchange: Exchange): Promise<Answer> {
    const { host } = exchange.url;
    const tls = exchange.url.protocol === "https:" ? await this.#tls(host) : {};
    try {
      return await this.#fetch(exchange, tls);
    } catch (cause) {
      exchange.signal.throwIfAborted();
      const canRetry = isUntrusted(cause) && !tls.ca && !(exchange.body instanceof ReadableStream);
      if (!canRetry) throw exchangeError({ ...exchange, cause });
    }
    this.#needsSystem.add(host);
    try {
      return await this.#fetch(exchange, await this.#tls(host));
    } catch (cause) {
      exchange.signal.throwIfAborted();
      throw exchangeError({ ...exchange, cause });
    }
  }

  async #tls(host: string): Promise<TlsOptions> {
    const own = this.#trust.tlsOf(host);
    if (await this.#trust.isInsecure(host)) return { ...own, rejectUnauthorized: false };
    return this.#needsSystem.has(host) && !own.ca ? { ...own, ca: systemAuthorities() } : own;
  }

  async #fetch(exchange: Exchange, tls: TlsOptions): Promise<Answer> {
    const abort = new AbortController();
    const timedOut = () => abort.abort(Object.assign(new Error("time-out"), { code: "ETIMEDOUT" }));
    const timer = exchange.isUpload ? null : setTimeout(timedOut, this.#limits.headersTimeoutMs);
    try {
      const response = await fetch(exchange.url, {
        method: exchange.method,
        headers: this.#headers(exchange),
        body: exchange.body ?? null,
        redirect: "manual",
        // A blob's bytes are what the digest is of: nothing may be decoded on the way.
        decompress: false,
        signal: AbortSignal.any([exchange.signal, abort.signal]),
        tls: tls as Bun.TLSOptions,
        timeout: false,
      } as BunFetchRequestInit);
      return { response, url: exchange.url, abort: (reason) => abort.abort(reason) };
    } catch (cause) {
      throw failureCode(abort.signal.reason) === "ETIMEDOUT" ? abort.signal.reason : cause;
    } finally {
      if (timer) clearTimeout(timer);
    }
  }

  #headers({ headers, authorization }: Exchange): Record<string, string> {
    return {
      "User-Agent": this.#userAgent,
      "Accept-Encoding": "identity",
      ...headers,
      ...(authorization ? { Authorization: authorization } : {}),
    };
  }
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Only reads are redirected: a body is gone once it was sent. */
function redirectOf(exchange: Exchange, { response, url }: Answer): URL | null {
  if (exchange.method !== "GET" && exchange.method !== "HEAD") return null;
  const location = response.headers.get("location");
  if (!REDIRECTS.has(response.status) || location === null) return null;
  const next = URL.parse(location, url.href);
  if (!next) return null;
  next.username = "";
  next.password = "";
  return next;
}
