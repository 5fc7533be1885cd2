/** Reads HTTP/1.1 messages out of bytes that pass by, cut anywhere; keeps nothing but the bodies it is asked for. */

export interface Head {
  /** `POST /v1.51/containers/create HTTP/1.1`, or `HTTP/1.1 200 OK`. */
  readonly start: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
}

/** How a message's body is delimited. */
export type Framing = "none" | "chunked" | "close" | number;

export interface MessageHandler {
  /** Decides how the body ends, or stops reading for ever: the connection was hijacked. */
  head(head: Head): Framing | "stop";
  body(bytes: Uint8Array): void;
  end(): void;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const LINE_END = Buffer.from("\r\n");

export class HttpParser {
  readonly #handler: MessageHandler;
  #pending: Buffer = Buffer.alloc(0);
  #state:
    | "head"
    | "sized"
    | "chunk-size"
    | "chunk-data"
    | "chunk-end"
    | "trailer"
    | "close"
    | "stopped" = "head";
  #remaining = 0;

  constructor(handler: MessageHandler) {
    this.#handler = handler;
  }

  get stopped(): boolean {
    return this.#state === "stopped";
  }

  push(chunk: Uint8Array): void {
    if (this.#state === "stopped") return;
    this.#pending =
      this.#pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
    while (this.#step());
  }

  /** The connection ended: so did a body without a length. */
  close(): void {
    if (this.#state === "close") this.#handler.end();
    this.#state = "stopped";
  }

  /** @returns false when more bytes are needed */
  #step(): boolean {
    switch (this.#state) {
      case "head":
        return this.#readHead();
      case "sized":
      case "chunk-data":
        return this.#readSized();
      case "chunk-size":
        return this.#readChunkSize();
      case "chunk-end":
        return this.#line() === null ? false : this.#to("chunk-size");
      case "trailer":
        return this.#readTrailer();
      case "close":
        this.#take(this.#pending.length);
        return false;
      case "stopped":
        return false;
    }
  }

  #to(
    state:
      | "head"
      | "sized"
      | "chunk-size"
      | "chunk-data"
      | "chunk-end"
      | "trailer"
      | "close"
      | "stopped",
  ): true {
    this.#state = state;
    return true;
  }

  #take(length: number): void {
    if (length > 0) this.#handler.body(this.#pending.subarray(0, length));
    this.#pending = this.#pending.subarray(length);
  }

  #line(): string | null {
    const end = this.#pending.indexOf(LINE_END);
    if (end < 0) return null;
    const line = this.#pending.subarray(0, end).toString("latin1");
    this.#pending = this.#pending.subarray(end + LINE_END.length);
    return line;
  }

  #readHead(): boolean {
    const end = this.#pending.indexOf(HEAD_END);
    if (end < 0) return false;
    const [start = "", ...lines] = this.#pending.subarray(0, end).toString("latin1").split("\r\n");
    this.#pending = this.#pending.subarray(end + HEAD_END.length);
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const framing = this.#handler.head({ start, headers });
    if (framing === "stop") return this.#to("stopped");
    if (framing === "chunked") return this.#to("chunk-size");
    if (framing === "close") return this.#to("close");
    if (framing === "none" || framing === 0) {
      this.#handler.end();
      return true;
    }
    this.#remaining = framing;
    return this.#to("sized");
  }

  #readSized(): boolean {
    const length = Math.min(this.#remaining, this.#pending.length);
    this.#take(length);
    this.#remaining -= length;
    if (this.#remaining > 0) return false;
    if (this.#state === "chunk-data") return this.#to("chunk-end");
    this.#handler.end();
    return this.#to("head");
  }

  #readChunkSize(): boolean {
    const line = this.#line();
    if (line === null) return false;
    this.#remaining = Number.parseInt(line, 16);
    return this.#to(this.#remaining === 0 ? "trailer" : "chunk-data");
  }

  #readTrailer(): boolean {
    const line = this.#line();
    if (line === null) return false;
    if (line !== "") return true;
    this.#handler.end();
    return this.#to("head");
  }
}
