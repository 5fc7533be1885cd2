/**
 * Registries by name: which addresses one has, which of them answers, and who may speak to it.
 *
 * Docker Hub is asked through the operator's mirrors first. Loopback and "insecure" registries are tried with
 * https, then with plain http, as Docker does.
 */
import { systemClock, unauthorized, kindOf } from "#base";
import { DEFAULT_DOMAIN } from "#oci";

import { Authorizer, type Credentials } from "./authorization.ts";
import { challengesOf } from "./challenge.ts";
import { answerError } from "./errors.ts";
import { DEFAULT_LIMITS, type RegistryLimits, type RegistryOptions } from "./options.ts";
import { Repository } from "./repository.ts";
import { searchAt, type SearchRequest, type SearchResult } from "./search.ts";
import { Transport } from "./transport.ts";
import { openTrust, type Trust } from "./trust.ts";

const HUB = "https://registry-1.docker.io";
/** What `docker login` calls Docker Hub. */
const HUB_LOGIN = "https://index.docker.io/v1/";

export interface RepositoryRequest {
  /** `docker.io`, `localhost:5000`. */
  readonly domain: string;
  /** `library/busybox`. */
  readonly path: string;
  readonly credentials?: Credentials;
  readonly actions: "pull" | "pull,push";
  /** Further repositories of the same registry that are only read: sources of mounts. */
  readonly alsoRead?: readonly string[];
  readonly signal: AbortSignal;
}

export interface RegistryClient {
  /**
   * Runs `work` with the repository at the first address that can do it: mirrors first, the registry last.
   * Its own failure counts when no address is left.
   */
  withRepository<T>(
    request: RepositoryRequest,
    work: (repository: Repository) => Promise<T>,
  ): Promise<T>;
  /** The search of a registry that has one: Docker Hub, and the oldest private ones. */
  search(request: SearchRequest): Promise<SearchResult[]>;
  /**
   * `docker login`: throws "unauthorized" unless the registry takes the credentials.
   * @returns a token to keep instead of the password; "" where the registry gives none
   */
  login(request: {
    serverAddress: string;
    credentials: Credentials;
    signal: AbortSignal;
  }): Promise<{ readonly identityToken: string }>;
}

export function openRegistryClient(options: RegistryOptions = {}): RegistryClient {
  return new HttpRegistryClient(options);
}

interface Endpoint {
  readonly origin: URL;
  readonly isMirror: boolean;
}

class HttpRegistryClient implements RegistryClient {
  readonly #options: RegistryOptions;
  readonly #limits: RegistryLimits;
  readonly #trust: Trust;
  readonly #transport: Transport;
  /** Insecure hosts that answered plain http: asked so at once next time. */
  readonly #plainHosts = new Set<string>();

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#trust = openTrust({
      insecureRegistries: options.insecureRegistries ?? [],
      certificatesDirectory: options.certificatesDirectory ?? "/etc/docker/certs.d",
    });
    const userAgent = options.userAgent ?? "naru";
    this.#transport = new Transport({ trust: this.#trust, limits: this.#limits, userAgent });
  }

  async withRepository<T>(
    request: RepositoryRequest,
    work: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const all = await this.#endpoints(request);
    // A mirror only gives: what is sent goes to the registry itself.
    const endpoints = all.filter(({ isMirror }) => !isMirror || request.actions === "pull");
    for (const [index, endpoint] of endpoints.entries()) {
      try {
        const repository = await this.#open(endpoint, request);
        return await work(repository);
      } catch (cause) {
        request.signal.throwIfAborted();
        const isLast = index === endpoints.length - 1;
        // Plain http is for a host that does not speak TLS, not for a second opinion on its answer.
        const mayGoOn = endpoint.isMirror || isUnreachable(cause);
        if (isLast || !mayGoOn) throw cause;
      }
    }
    throw new Error(`registry ${request.domain} has no address`);
  }

  async login(request: {
    serverAddress: string;
    credentials: Credentials;
    signal: AbortSignal;
  }): Promise<{ readonly identityToken: string }> {
    const { serverAddress, credentials, signal } = request;
    const isHub = serverAddress === "" || serverAddress === HUB_LOGIN;
    const domain = isHub
      ? DEFAULT_DOMAIN
      : serverAddress.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
    const endpoints = await this.#endpoints({ domain });
    let failure: unknown;
    for (const { origin, isMirror } of endpoints) {
      if (isMirror) continue;
      try {
        return { identityToken: await this.#loginAt(origin, credentials, signal) };
      } catch (cause) {
        signal.throwIfAborted();
        failure = cause;
        if (!isUnreachable(cause)) break;
      }
    }
    throw failure;
  }

  async search(request: SearchRequest): Promise<SearchResult[]> {
    const { domain } = request;
    const endpoints =
      domain === DEFAULT_DOMAIN
        ? [{ origin: new URL(HUB_LOGIN) }]
        : await this.#endpoints({ domain });
    let failure: unknown;
    for (const { origin } of endpoints) {
      try {
        return await searchAt(this.#transport, origin, request);
      } catch (cause) {
        request.signal.throwIfAborted();
        failure = cause;
        if (kindOf(cause) !== "unavailable") break;
      }
    }
    throw failure;
  }

  async #loginAt(origin: URL, credentials: Credentials, signal: AbortSignal): Promise<string> {
    const url = new URL("/v2/", origin);
    const authorizer = new Authorizer({
      transport: this.#transport,
      origin,
      credentials,
      scopes: [],
      isLogin: true,
    });
    const first = await this.#transport.send({ method: "GET", url, signal });
    if (first.response.status === 401) {
      authorizer.learn(challengesOf(first.response));
      await first.response.body?.cancel();
      const authorization = await authorizer.header({ method: "GET", url, signal });
      if (authorization === null) {
        throw unauthorized(`Get "${url.href}": no known authentication challenge`);
      }
      const second = await this.#transport.send({ method: "GET", url, authorization, signal });
      if (!second.response.ok) {
        const stated = await answerError(second.response);
        throw unauthorized(
          `login attempt to ${url.href} failed with status: ${second.response.status} ${second.response.statusText}`,
          { cause: stated },
        );
      }
      await second.response.body?.cancel();
    } else await first.response.body?.cancel();
    return authorizer.identityToken;
  }

  async #endpoints({ domain }: Pick<RepositoryRequest, "domain">): Promise<Endpoint[]> {
    if (domain === DEFAULT_DOMAIN) {
      const mirrors = this.#options.mirrors ?? [];
      return [
        ...mirrors.map((mirror) => ({ origin: new URL(mirror), isMirror: true })),
        { origin: new URL(HUB), isMirror: false },
      ];
    }
    const secure = { origin: new URL(`https://${domain}`), isMirror: false };
    if (!(await this.#trust.isInsecure(domain))) return [secure];
    const plain = { origin: new URL(`http://${domain}`), isMirror: false };
    return this.#plainHosts.has(domain) ? [plain, secure] : [secure, plain];
  }

  /** Asks an address whether it is there and what it wants to see, as Docker's first request does. */
  async #open(endpoint: Endpoint, request: RepositoryRequest): Promise<Repository> {
    const { origin, isMirror } = endpoint;
    const { domain, path, actions, alsoRead = [], signal } = request;
    const authorizer = new Authorizer({
      transport: this.#transport,
      origin,
      // A mirror is not the registry: its credentials are none of the mirror's business.
      credentials: isMirror ? {} : (request.credentials ?? {}),
      scopes: [
        `repository:${path}:${actions}`,
        ...alsoRead.map((source) => `repository:${source}:pull`),
      ],
    });
    const ping = await this.#transport.send({
      method: "GET",
      url: new URL("/v2/", origin),
      signal,
    });
    if (ping.response.status === 401 && ping.url.origin === origin.origin) {
      authorizer.learn(challengesOf(ping.response));
    }
    await ping.response.body?.cancel();
    if (origin.protocol === "http:" && !isMirror) this.#plainHosts.add(domain);
    return new Repository({
      transport: this.#transport,
      authorizer,
      base: new URL(`/v2/${path}/`, origin),
      limits: this.#limits,
      clock: this.#options.clock ?? systemClock,
    });
  }
}

/** No conversation came about at all. */
const isUnreachable = (cause: unknown): boolean =>
  cause instanceof Error &&
  /^Get "https?:\/\/[^"]*\/v2\/": (?:dial|http:|tls:|read:|net\/http:)/.test(cause.message);
