/**
 * Answers a registry's challenge: nothing, Basic, or a token from the realm it states.
 * Spec: the distribution project's token authentication; OAuth2 for identity tokens.
 */
import { internal, readAll, sentenceOf, unavailable, wrap } from "#base";

import type { Challenge } from "./challenge.ts";
import { answerError } from "./errors.ts";
import { ANSWER_LIMIT_BYTES } from "./options.ts";
import type { Answer, Exchange, Transport } from "./transport.ts";

/** As `docker login` stores them and clients send them in X-Registry-Auth. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

const CLIENT_ID = "naru";

export class Authorizer {
  readonly #transport: Transport;
  readonly #origin: URL;
  readonly #credentials: Credentials;
  readonly #scopes: readonly string[];
  readonly #isLogin: boolean;
  #challenge: Challenge | null = null;
  #header: string | null = null;
  #identityToken = "";

  /** @param request.origin the registry: the only host besides its stated realm that sees credentials */
  constructor(request: {
    transport: Transport;
    origin: URL;
    credentials: Credentials;
    scopes: readonly string[];
    /** Asks for a token that stands for the password from now on. */
    isLogin?: boolean;
  }) {
    this.#isLogin = request.isLogin ?? false;
    this.#transport = request.transport;
    this.#origin = request.origin;
    this.#credentials = request.credentials;
    this.#scopes = request.scopes;
    const { registryToken } = request.credentials;
    if (registryToken) this.#header = `Bearer ${registryToken}`;
  }

  /** What a login got to be kept instead of the password; "" where the registry gives none. */
  get identityToken(): string {
    return this.#identityToken;
  }

  /** Remembers what the registry asks for, without answering yet. */
  learn(challenges: readonly Challenge[]): void {
    const known = challenges.filter(({ scheme }) => scheme === "bearer" || scheme === "basic");
    this.#challenge =
      known.find(({ scheme }) => scheme === "bearer") ?? known[0] ?? this.#challenge;
  }

  /** What to send with the next request; null for nothing. @param about the request, for a failure's sentence */
  async header(about: Pick<Exchange, "method" | "url" | "signal">): Promise<string | null> {
    if (this.#header === null && this.#challenge) {
      this.#header = await this.#answer(this.#challenge, about);
    }
    return this.#header;
  }

  /** What was sent was refused: the next `header` is made anew. False when that could not help. */
  renew(challenges: readonly Challenge[]): boolean {
    if (this.#credentials.registryToken) return false;
    this.learn(challenges);
    if (this.#challenge?.scheme === "basic" && this.#header !== null) return false;
    this.#header = null;
    return this.#challenge !== null;
  }

  async #answer(
    challenge: Challenge,
    about: Pick<Exchange, "method" | "url" | "signal">,
  ): Promise<string> {
    if (challenge.scheme === "bearer")
      return `Bearer ${await this.#token(challenge, about.signal)}`;
    const basic = basicHeader(this.#credentials);
    if (basic) return basic;
    const verb = `${about.method.slice(0, 1)}${about.method.slice(1).toLowerCase()}`;
    // As Docker not "unauthorized": its CLI would ask for a password, and wait for ever where nobody answers.
    throw internal(`${verb} "${about.url.href}": no basic auth credentials`);
  }

  async #token({ parameters }: Challenge, signal: AbortSignal): Promise<string> {
    const realm = URL.parse(parameters.get("realm") ?? "");
    if (!realm || !this.#isRealm(realm)) {
      throw unavailable(`the registry ${this.#origin.host} states no usable token realm`);
    }
    const scopes = new Set([...this.#scopes, ...(parameters.get("scope")?.split(" ") ?? [])]);
    scopes.delete("");
    const service = parameters.get("service") ?? "";
    const request = { realm, service, scopes: [...scopes], signal };
    try {
      const answer = await this.#exchange(request);
      if (!answer.response.ok) throw await answerError(answer.response);
      const { token, refreshToken } = await tokenIn(answer.response);
      if (this.#isLogin) this.#identityToken = refreshToken;
      return token;
    } catch (cause) {
      if (signal.aborted) throw cause;
      // A failed exchange already names its address.
      throw sentenceOf(cause).includes(realm.host) ? cause : wrap(`Get "${realm.href}"`, cause);
    }
  }

  /** A realm is asked over TLS whenever the registry is. */
  #isRealm(realm: URL): boolean {
    if (realm.username !== "" || realm.password !== "") return false;
    if (realm.protocol === "https:") return true;
    return realm.protocol === "http:" && this.#origin.protocol === "http:";
  }

  async #exchange(request: TokenRequest): Promise<Answer> {
    const { realm, service, scopes, signal } = request;
    const { identityToken, username } = this.#credentials;
    if (identityToken) {
      const body = new URLSearchParams({
        grant_type: "refresh_token",
        refresh_token: identityToken,
        service,
        client_id: CLIENT_ID,
        scope: scopes.join(" "),
      });
      const headers = { "Content-Type": "application/x-www-form-urlencoded" };
      return await this.#transport.send({ method: "POST", url: realm, headers, body, signal });
    }
    const url = new URL(realm);
    if (service !== "") url.searchParams.set("service", service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    if (username) url.searchParams.set("account", username);
    if (this.#isLogin && username) {
      url.searchParams.set("offline_token", "true");
      url.searchParams.set("client_id", CLIENT_ID);
    }
    const authorization = basicHeader(this.#credentials);
    return await this.#transport.send({ method: "GET", url, authorization, signal });
  }
}

interface TokenRequest {
  readonly realm: URL;
  readonly service: string;
  readonly scopes: readonly string[];
  readonly signal: AbortSignal;
}

function basicHeader({ username, password }: Credentials): string | null {
  if (!username && !password) return null;
  return `Basic ${new TextEncoder().encode(`${username ?? ""}:${password ?? ""}`).toBase64()}`;
}

async function tokenIn(response: Response): Promise<{ token: string; refreshToken: string }> {
  const tooLarge = () => unavailable("the token server's answer is too long");
  if (!response.body)
    throw unavailable("authorization server did not include a token in the response");
  const bytes = await readAll(response.body, { limitBytes: ANSWER_LIMIT_BYTES, tooLarge });
  let answer: { token?: unknown; access_token?: unknown; refresh_token?: unknown } | null;
  try {
    answer = JSON.parse(new TextDecoder().decode(bytes)) as typeof answer;
  } catch (cause) {
    throw unavailable("unable to decode token response", { cause });
  }
  const token = answer?.token ?? answer?.access_token;
  // A line break would let a token server write headers of its own.
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw unavailable("authorization server did not include a token in the response");
  }
  const refreshToken = answer?.refresh_token;
  return { token, refreshToken: typeof refreshToken === "string" ? refreshToken : "" };
}
