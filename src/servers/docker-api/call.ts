/**
 * One request and its answer, as handlers see it: an ordinary exchange, or one whose socket the client asked to
 * take over (`Upgrade`). Handlers need not care which: `json` and `stream` do the right thing on both.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { Readable, type Writable } from "node:stream";

import {
  hijackedHead,
  plainAnswer,
  pumpToSink,
  Query,
  readableOf,
  readJsonBody,
  requireJsonBody,
  returnHead,
} from "#wire/http";

import type { Admission } from "./authorization/authorizer.ts";
import { answerOf } from "./errors.ts";

export type Headers = Readonly<Record<string, string>>;

/** Where an answer goes: node's response, or the bare socket of an upgrade. */
export type Channel =
  | { readonly kind: "response"; readonly response: ServerResponse }
  | { readonly kind: "socket"; readonly socket: Socket; readonly head: Uint8Array };

export interface CallRequest {
  readonly request: IncomingMessage;
  readonly channel: Channel;
  /** The API version the client speaks. */
  readonly version: string;
  readonly params: Headers;
  readonly query: string;
  /** Sent with every answer. */
  readonly headers: Headers;
  /** What an answer that something was done waits for: that it stays done. null: it does. */
  readonly settled?: () => Promise<void> | null;
  /** Who asked whether this may be; absent: nobody needs to. */
  readonly admission?: Admission | null;
}

const JSON_TYPE = "application/json";

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Headers;
}

function failureOf(thrown: unknown): Answer {
  const { status, body } = answerOf(thrown);
  return { status, body, type: body === "" ? "" : JSON_TYPE };
}

export class Call {
  readonly request: IncomingMessage;
  readonly version: string;
  readonly query: Query;
  readonly #params: Headers;
  readonly #channel: Channel;
  readonly #headers: Headers;
  readonly #settled: () => Promise<void> | null;
  readonly #admission: Admission | null;
  #abort: AbortController | null = null;
  #begun = false;

  constructor(asked: CallRequest) {
    const { request, channel, version, params, query, headers, settled, admission } = asked;
    this.request = request;
    this.version = version;
    this.query = new Query(query);
    this.#params = params;
    this.#channel = channel;
    this.#headers = headers;
    this.#settled = settled ?? (() => null);
    this.#admission = admission ?? null;
  }

  /** Waits until what was done stays done, whatever happens to the machine. */
  async settle(): Promise<void> {
    await this.#settled();
  }

  /** True when the answer's head is out, so that an error can no longer have a status. */
  get begun(): boolean {
    return this.#begun;
  }

  /** True when nobody waits for the answer any more. */
  get gone(): boolean {
    return this.#abort?.signal.aborted ?? (this.sink.destroyed && !this.sink.writableFinished);
  }

  /** Aborts when the client goes away before its answer is complete. */
  get signal(): AbortSignal {
    if (this.#abort === null) {
      const abort = new AbortController();
      this.#abort = abort;
      const { sink } = this;
      const gone = () => abort.abort(new Error("the client went away"));
      if (sink.destroyed || sink.closed) gone();
      else sink.once("close", () => (sink.writableFinished ? undefined : gone()));
    }
    return this.#abort.signal;
  }

  /** What the answer is written to. */
  get sink(): Writable {
    return this.#channel.kind === "response" ? this.#channel.response : this.#channel.socket;
  }

  param(name: string): string {
    return this.#params[name] ?? "";
  }

  header(name: string): string {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(", ") : (value ?? "");
  }

  /** undefined when there is no body. */
  body(): Promise<unknown> {
    return readJsonBody(this.request, this.#admission?.body);
  }

  requireBody(): Promise<unknown> {
    return requireJsonBody(this.request, this.#admission?.body);
  }

  /** The body as it comes: an archive. */
  bytes(): ReadableStream<Uint8Array> {
    return readableOf(this.#source);
  }

  /** What has been shown to others is what the handler gets. */
  get #source(): Readable {
    const shown = this.#admission?.body ?? null;
    return shown === null ? this.request : Readable.from([shown]);
  }

  json(status: number, value: unknown): void {
    this.send({ status, type: JSON_TYPE, body: `${JSON.stringify(value)}\n` });
  }

  empty(status: number): void {
    this.send({ status, type: "", body: "" });
  }

  text(body: string, headers: Headers): void {
    this.send({ status: 200, type: "text/plain; charset=utf-8", body, headers });
  }

  /** A refusal goes out whoever is asked about answers. */
  fail(thrown: unknown): void {
    this.#begun = true;
    this.#writeAfter(this.#stays(), failureOf(thrown));
  }

  /** A whole answer. That something was done is not said before it stays done. */
  send(answer: Answer): void {
    this.#begun = true;
    const stays = this.#stays();
    this.#writeAfter(this.#admission === null ? stays : this.#release(stays, answer), answer);
  }

  #stays(): Promise<void> | null {
    const { method } = this.request;
    return method === "GET" || method === "HEAD" ? null : this.#settled();
  }

  async #release(stays: Promise<void> | null, answer: Answer): Promise<void> {
    await stays;
    const { status, type, body, headers } = answer;
    const shown = {
      ...this.#headers,
      ...headers,
      ...(type === "" ? {} : { "Content-Type": type }),
    };
    await this.#admission?.release({ status, headers: shown, body });
  }

  #writeAfter(waiting: Promise<void> | null, answer: Answer): void {
    if (waiting === null) return this.#write(answer);
    waiting.then(
      () => this.#write(answer),
      (cause: unknown) => this.#write(failureOf(cause)),
    );
  }

  /** The head of a stream is on its way when it is asked about. */
  #releaseStream(status: number, type: string, headers: Headers): void {
    const shown = { ...headers, "Content-Type": type };
    this.#admission?.release({ status, headers: shown, body: "" }).catch(() => this.destroy());
  }

  #write({ status, type, body, headers }: Answer): void {
    if (this.#channel.kind === "socket") {
      const reason = STATUS_CODES[status] ?? "";
      this.#channel.socket.end(
        plainAnswer({
          status,
          reason,
          contentType: type === "" ? JSON_TYPE : type,
          body,
          headers: { ...this.#headers, ...headers },
        }),
      );
      return;
    }
    const { response } = this.#channel;
    response.writeHead(status, {
      ...this.#headers,
      ...headers,
      ...(type === "" ? {} : { "Content-Type": type }),
      // 204 and 304 have no body, and must not claim a length.
      ...(status === 204 || status === 304
        ? {}
        : { "Content-Length": String(Buffer.byteLength(body)) }),
    });
    response.end(this.request.method === "HEAD" ? undefined : body);
  }

  /** Sends the head of a stream at once, before its first byte; what follows is written to the answer's sink. */
  begin(type: string, headers: Headers = {}): Writable {
    this.#begun = true;
    const all = { ...this.#headers, ...headers };
    this.#releaseStream(200, type, all);
    if (this.#channel.kind === "socket") {
      const { socket } = this.#channel;
      socket.write(hijackedHead({ upgraded: false, contentType: type, headers: all }));
      return socket;
    }
    const { response } = this.#channel;
    response.writeHead(200, { ...all, "Content-Type": type });
    response.flushHeaders();
    return response;
  }

  /** A stream of bytes as the whole answer; ends with it, and is cancelled when the client goes away. */
  async stream(source: ReadableStream<Uint8Array>, type: string, headers?: Headers): Promise<void> {
    const sink = this.begin(type, headers);
    if (await pumpToSink(source, sink)) sink.end();
  }

  /**
   * Gives the connection to the streams of a process. After an `Upgrade` they are raw in both directions; without
   * one the output is the answer's body, and the request's body is the input.
   */
  hijack(answer: { contentType: string; protocol?: string; headers?: Headers }): {
    sink: Writable;
    source: Readable;
  } {
    if (this.#channel.kind === "response") {
      return { sink: this.begin(answer.contentType), source: this.#source };
    }
    this.#begun = true;
    const { socket, head } = this.#channel;
    this.#releaseStream(101, answer.contentType, { ...answer.headers });
    returnHead(socket, head);
    socket.write(hijackedHead({ upgraded: true, ...answer }));
    return { sink: socket, source: socket };
  }

  get upgraded(): boolean {
    return this.#channel.kind === "socket";
  }

  /** Cuts the connection: for an error after the head, which no status can tell any more. */
  destroy(): void {
    this.sink.destroy();
  }
}
