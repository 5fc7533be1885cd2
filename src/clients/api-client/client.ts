/**
 * Requests to a daemon: which version of the API to speak, which connection to use, what an error means.
 * The first request goes out at once under the newest version this program knows; only a server that finds it
 * too new costs a second try. Nothing is asked twice otherwise.
 */
import { EngineError, joinBytes, sentenceOf } from "#base";
import { API_VERSION, compareApiVersions, MIN_API_VERSION } from "#wire/docker";

import { endpointText, type Endpoint } from "./endpoint.ts";
import { ApiError, ConnectionError, messageOf } from "./errors.ts";
import { readBody, readHead, type BodyReader, type ResponseHead } from "./http-response.ts";
import { ERROR_LIMIT_BYTES, IDLE_REUSE_MS, JSON_LIMIT_BYTES } from "./limits.ts";
import { openWire, type Wire } from "./wire.ts";

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;
/** A stream is sent in chunks as it arrives. */
export type RequestBody = string | AsyncIterable<Uint8Array>;

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE" | "HEAD";
  /** Below the version: `/containers/json`. Names in it are already encoded (`encodeName`). */
  readonly path: string;
  /** Undefined, false and "" are left out; true is `1`. */
  readonly query?: Query;
  /** More of the query, already encoded: for names that repeat. */
  readonly rawQuery?: string;
  /** Sent as JSON. */
  readonly json?: unknown;
  readonly body?: RequestBody;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** False: without a version in the path (`/_ping`). */
  readonly versioned?: boolean;
}

export interface ClientOptions {
  readonly endpoint: Endpoint;
  /** Pins the version (DOCKER_API_VERSION): no other is tried. */
  readonly apiVersion?: string;
  /** Sent with every request (`HttpHeaders` of config.json). */
  readonly headers?: Readonly<Record<string, string>>;
  readonly userAgent?: string;
}

/** One answer. Read its body to the end, or close it: until then it holds a connection. */
export interface ApiResponse extends ResponseHead {
  /** The body's next bytes, undefined at its end. */
  read(): Promise<Uint8Array | undefined>;
  /** The body as one text. @throws EngineError when it is longer than `limitBytes` */
  text(limitBytes?: number): Promise<string>;
  close(): void;
}

/** A connection that has become a raw stream in both directions. */
export interface Hijacked {
  readonly headers: ReadonlyMap<string, string>;
  readonly wire: Wire;
}

/** A name inside a path: slashes stay, as the API has them in image names. */
export const encodeName = (name: string): string =>
  encodeURIComponent(name).replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%40", "@");

/** A client of one daemon. Cheap to make: it connects at the first request. */
export class ApiClient {
  readonly endpoint: Endpoint;
  readonly #options: ClientOptions;
  readonly #idle: { wire: Wire; since: number }[] = [];
  #version: string;
  #asked = false;
  #ahead: Promise<Wire> | null = null;

  constructor(options: ClientOptions) {
    this.endpoint = options.endpoint;
    this.#options = options;
    this.#version = options.apiVersion ?? API_VERSION;
  }

  /** The version requests are sent under; final once the first answer came. */
  get apiVersion(): string {
    return this.#version;
  }

  /** Sends a request. @throws ApiError for a status of 400 or more, ConnectionError when nobody answers */
  async request(request: ApiRequest): Promise<ApiResponse> {
    if (request.body !== undefined && typeof request.body !== "string") await this.#negotiate();
    for (;;) {
      const version = this.#version;
      const wire = await this.#take();
      const response = await this.#exchange(wire, request);
      if (response.status < 400) {
        this.#asked = true;
        return response;
      }
      const error = new ApiError(
        response.status,
        messageOf(response.status, await response.text(ERROR_LIMIT_BYTES)),
      );
      if (!this.#downgraded(error, version)) throw error;
    }
  }

  /** Sends a request whose answer is one JSON document. */
  async json<T>(request: ApiRequest): Promise<T> {
    return await jsonOf<T>(await this.request(request));
  }

  /** Sends a request and drops its answer's body. */
  async send(request: ApiRequest): Promise<void> {
    await (await this.request(request)).text(JSON_LIMIT_BYTES);
  }

  /** Opens the connection of the `hijack` that will come, while another request is under way. */
  expectHijack(): void {
    this.#ahead ??= openWire(this.endpoint);
    // The hijack hears of a failure.
    this.#ahead.catch(() => undefined);
  }

  /** Sends a request that turns its connection into a raw stream (attach, exec start). */
  async hijack(request: ApiRequest): Promise<Hijacked> {
    for (;;) {
      const version = this.#version;
      const ahead = this.#ahead;
      this.#ahead = null;
      const wire = await (ahead ?? openWire(this.endpoint));
      const head = await this.#upgrade(wire, request, "tcp");
      // Before API 1.21 daemons answered 200 and hijacked all the same.
      if (head.status === 101 || head.status === 200) return { headers: head.headers, wire };
      await this.#refused(wire, { head, request, version });
    }
  }

  /** Offers to go on as a stream of that protocol. A daemon that does not know it answers as it always does. */
  async offer(request: ApiRequest, protocol: string): Promise<Hijacked | ApiResponse> {
    for (;;) {
      const version = this.#version;
      const wire = await this.#take();
      const head = await this.#upgrade(wire, request, protocol);
      if (head.status === 101) return { headers: head.headers, wire };
      if (head.status < 400) {
        return this.#responseOf(wire, head, request, { stop: () => undefined, complete: true });
      }
      await this.#refused(wire, { head, request, version });
    }
  }

  async #upgrade(wire: Wire, request: ApiRequest, protocol: string): Promise<ResponseHead> {
    const stop = closeOnAbort(wire, request.signal);
    const extra = { Connection: "Upgrade", Upgrade: protocol };
    await wire.write(this.#headOf(request, extra, request.json ?? {}));
    const head = await this.#head(wire, request.signal);
    stop();
    if (head.status < 400) this.#asked = true;
    return head;
  }

  /** Returns when the same request is worth another try, under an older version. @throws ApiError */
  async #refused(
    wire: Wire,
    answer: { head: ResponseHead; request: ApiRequest; version: string },
  ): Promise<void> {
    const { head, request, version } = answer;
    const response = this.#responseOf(wire, head, request);
    const text = await response.text(ERROR_LIMIT_BYTES);
    response.close();
    const error = new ApiError(head.status, messageOf(head.status, text));
    if (!this.#downgraded(error, version)) throw error;
  }

  /** Closes what is idle; idle connections do not keep a program alive, so one that ends anyway need not. */
  close(): void {
    for (const { wire } of this.#idle.splice(0)) wire.close();
    void this.#ahead?.then((wire) => wire.close());
    this.#ahead = null;
  }

  /** A body that is a stream cannot be sent twice: the version must be right before it starts. */
  async #negotiate(): Promise<void> {
    if (this.#asked || this.#options.apiVersion !== undefined) return;
    const response = await this.request({ method: "HEAD", path: "/_ping", versioned: false });
    const newest = response.headers.get("api-version");
    if (newest !== undefined && compareApiVersions(newest, this.#version) < 0) {
      this.#version = newest;
    }
    await response.text();
  }

  /** True when the server said which older version it speaks, and that one is now in use. */
  #downgraded(error: ApiError, version: string): boolean {
    if (error.status !== 400 || this.#options.apiVersion !== undefined) return false;
    const older = /too new\. Maximum supported API version is ([\d.]+)/.exec(error.message)?.[1];
    if (older === undefined || compareApiVersions(older, version) >= 0) return false;
    if (compareApiVersions(older, MIN_API_VERSION) < 0) return false;
    this.#version = older;
    return true;
  }

  async #take(): Promise<Wire> {
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop()) {
      if (last.wire.idle && performance.now() - last.since < IDLE_REUSE_MS) {
        last.wire.hold(true);
        return last.wire;
      }
      last.wire.close();
    }
    return openWire(this.endpoint);
  }

  async #exchange(wire: Wire, request: ApiRequest): Promise<ApiResponse> {
    const { json, body, signal } = request;
    const stop = closeOnAbort(wire, signal);
    let complete = true;
    try {
      if (body !== undefined && typeof body !== "string") {
        complete = await this.#upload(wire, request, body);
      } else {
        await wire.write(this.#headOf(request, {}, json ?? body));
      }
      const head = await this.#head(wire, signal);
      return this.#responseOf(wire, head, request, { stop, complete });
    } catch (cause) {
      stop();
      wire.close();
      throw cause;
    }
  }

  /**
   * Sends a stream, but stops as soon as the server answers: its refusal is what the user must see.
   * @returns whether all of it was sent
   */
  async #upload(
    wire: Wire,
    request: ApiRequest,
    body: AsyncIterable<Uint8Array>,
  ): Promise<boolean> {
    await wire.widen();
    // What ends the chunk before goes with the next one's size.
    let before: Uint8Array = new Uint8Array(0);
    await wire.write(this.#headOf(request, { "Transfer-Encoding": "chunked" }));
    try {
      for await (const chunk of body) {
        if (chunk.length === 0) continue;
        if (!wire.idle) return false;
        const size = encoder.encode(`${chunk.length.toString(16)}\r\n`);
        if (chunk.length < COPIED_BYTES) {
          await wire.write(joinBytes([before, size, chunk]));
        } else {
          await wire.write(joinBytes([before, size]));
          await wire.write(chunk);
        }
        before = CRLF;
      }
      await wire.write(joinBytes([before, LAST_CHUNK]));
      return true;
    } catch (cause) {
      // A server that refuses answers first and then closes: read that answer if there is one.
      if (!wire.hasReceived) throw cause;
      return false;
    }
  }

  #headOf(request: ApiRequest, extra: Record<string, string>, payload?: unknown): string {
    const { endpoint } = this;
    const text =
      payload === undefined || typeof payload === "string" ? payload : JSON.stringify(payload);
    const headers: Record<string, string> = {
      Host: endpoint.kind === "tcp" ? `${endpoint.hostname}:${endpoint.port}` : "docker",
      "User-Agent": this.#options.userAgent ?? "naru-client",
      ...this.#options.headers,
      ...request.headers,
      ...extra,
    };
    if (text !== undefined || request.body !== undefined) {
      headers["Content-Type"] = request.contentType ?? "application/json";
    }
    if (text !== undefined) headers["Content-Length"] = String(Buffer.byteLength(text));
    else if (request.method === "POST" && request.body === undefined)
      headers["Content-Length"] = "0";
    let head = `${request.method} ${this.#target(request)} HTTP/1.1\r\n`;
    for (const [name, value] of Object.entries(headers)) {
      head += `${name}: ${value.replace(/[\r\n]/g, " ")}\r\n`;
    }
    return `${head}\r\n${text ?? ""}`;
  }

  #target({ path, query = {}, rawQuery = "", versioned = true }: ApiRequest): string {
    let text = rawQuery === "" ? "" : `?${rawQuery}`;
    for (const [name, value] of Object.entries(query)) {
      if (value === undefined || value === false || value === "") continue;
      const shown = value === true ? "1" : String(value);
      text += `${text === "" ? "?" : "&"}${name}=${encodeURIComponent(shown)}`;
    }
    return `${versioned ? `/v${this.#version}` : ""}${path}${text}`;
  }

  async #head(wire: Wire, signal?: AbortSignal): Promise<ResponseHead> {
    try {
      return await readHead(wire);
    } catch (cause) {
      wire.close();
      signal?.throwIfAborted();
      const text = endpointText(this.endpoint);
      throw new ConnectionError(
        "other",
        text,
        `error during connect: ${text}: ${sentenceOf(cause)}`,
        {
          cause,
        },
      );
    }
  }

  #responseOf(
    wire: Wire,
    head: ResponseHead,
    request: ApiRequest,
    { stop, complete }: { stop: () => void; complete: boolean } = {
      stop: () => undefined,
      complete: false,
    },
  ): ApiResponse {
    const body = readBody(wire, head, request.method);
    const keep =
      complete && body.reusable && !/\bclose\b/i.test(head.headers.get("connection") ?? "");
    let finished = false;
    const finish = (reuse: boolean) => {
      if (finished) return;
      finished = true;
      stop();
      if (reuse && wire.idle) {
        wire.hold(false);
        this.#idle.push({ wire, since: performance.now() });
      } else wire.close();
    };
    const read = async () => {
      if (finished) return undefined;
      try {
        const chunk = await body.read();
        if (chunk === undefined) finish(keep);
        request.signal?.throwIfAborted();
        return chunk;
      } catch (cause) {
        finish(false);
        request.signal?.throwIfAborted();
        throw cause;
      }
    };
    return {
      ...head,
      read,
      text: (limitBytes = JSON_LIMIT_BYTES) => readText({ ...body, read }, limitBytes),
      close: () => finish(false),
    };
  }
}

/** An answer that is one JSON document. @throws EngineError when it is none */
export async function jsonOf<T>(response: ApiResponse): Promise<T> {
  const text = await response.text(JSON_LIMIT_BYTES);
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new EngineError("internal", `the daemon's answer is not JSON: ${sentenceOf(cause)}`, {
      cause,
    });
  }
}

const encoder = new TextEncoder();
const CRLF = encoder.encode("\r\n");
const LAST_CHUNK = new TextEncoder().encode("0\r\n\r\n");
/** A larger chunk is worth a call of its own: copying it behind its size costs more. */
const COPIED_BYTES = 32 * 1024;

function closeOnAbort(wire: Wire, signal: AbortSignal | undefined): () => void {
  if (signal === undefined) return () => undefined;
  signal.throwIfAborted();
  const close = () => wire.close();
  signal.addEventListener("abort", close, { once: true });
  return () => signal.removeEventListener("abort", close);
}

async function readText(body: BodyReader, limitBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (let chunk = await body.read(); chunk !== undefined; chunk = await body.read()) {
    size += chunk.length;
    if (size > limitBytes) {
      throw new EngineError("internal", `the daemon's answer is larger than ${limitBytes} bytes`);
    }
    chunks.push(chunk);
  }
  const [only] = chunks;
  return new TextDecoder().decode(chunks.length === 1 && only ? only : joinBytes(chunks));
}
