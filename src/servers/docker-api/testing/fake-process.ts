/** Processes without a kernel: programs written here, with the streams that the supervisor would give. */
import { invalid } from "#base";
import type { ProcessStreams } from "#engine/container";
import { encodeFrame } from "#wire/docker";

const utf8 = new TextEncoder();
const LOG_LIMIT_BYTES = 1024 * 1024;

/** A program: gets its arguments and stdin, writes, returns its exit code. */
interface Stdio {
  readonly stdin: ReadableStream<Uint8Array>;
  readonly signal: AbortSignal;
  out(text: string | Uint8Array): Promise<void>;
  err(text: string): Promise<void>;
}

const programs: Record<string, (args: readonly string[], io: Stdio) => Promise<number>> = {
  async echo(args, io) {
    await io.out(`${args.join(" ")}\n`);
    return 0;
  },
  true: () => Promise.resolve(0),
  false: () => Promise.resolve(1),
  async both(_, io) {
    await io.out("to stdout\n");
    await io.err("to stderr\n");
    return 3;
  },
  async cat(_, io) {
    for await (const chunk of io.stdin) await io.out(chunk);
    return 0;
  },
  /** Counts its input, and speaks only after its end. */
  async wc(_, io) {
    let size = 0;
    for await (const chunk of io.stdin) size += chunk.length;
    await io.out(`${size}\n`);
    return 0;
  },
  async flood([mebibytes = "1"], io) {
    const chunk = new Uint8Array(65_536).fill(97);
    for (let index = 0; index < Number(mebibytes) * 16; index += 1) await io.out(chunk);
    return 0;
  },
  sleep: (_, io) =>
    new Promise((resolve) =>
      io.signal.addEventListener("abort", () => resolve(137), { once: true }),
    ),
};

export class FakeProcess {
  readonly exit: Promise<number>;
  readonly abort = new AbortController();
  readonly log: Uint8Array[] = [];
  readonly #outputs = new Set<WritableStreamDefaultWriter<Uint8Array>>();
  readonly #stdin = new TransformStream<Uint8Array, Uint8Array>();
  readonly terminal: boolean;
  started = false;
  written = 0;
  #begin: () => void = () => {};
  #name: string;
  #args: readonly string[];

  constructor(command: readonly string[], terminal: boolean) {
    const [name = "", ...args] = command;
    this.terminal = terminal;
    this.#name = name;
    this.#args = args;
    const begun = new Promise<void>((resolve) => (this.#begin = resolve));
    this.exit = begun.then(() => this.#run());
  }

  start(): void {
    if (programs[this.#name] === undefined) {
      throw invalid(
        `failed to create task for container: exec: "${this.#name}": executable file not found in $PATH: unknown`,
      );
    }
    this.started = true;
    this.#begin();
  }

  async #run(): Promise<number> {
    const write = async (frame: Uint8Array) => {
      this.written += frame.length;
      if (this.written < LOG_LIMIT_BYTES) this.log.push(frame);
      await Promise.all([...this.#outputs].map((output) => output.write(frame).catch(() => {})));
    };
    const framed = (stream: "stdout" | "stderr", text: string | Uint8Array) => {
      const bytes = typeof text === "string" ? utf8.encode(text) : text;
      return write(this.terminal ? bytes : encodeFrame(stream, bytes));
    };
    const code =
      (await programs[this.#name]?.(this.#args, {
        stdin: this.#stdin.readable,
        signal: this.abort.signal,
        out: (text) => framed("stdout", text),
        err: (text) => framed("stderr", text),
      })) ?? 127;
    await Promise.all([...this.#outputs].map((output) => output.close().catch(() => {})));
    return code;
  }

  attach({ stdin, onDetach }: { stdin: boolean; onDetach: () => void }): ProcessStreams {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    this.#outputs.add(writer);
    return {
      terminal: this.terminal,
      output: readable,
      input: stdin ? this.#stdin.writable : null,
      detach: () => {
        onDetach();
        this.#outputs.delete(writer);
      },
    };
  }
}

export const streamOf = (chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
