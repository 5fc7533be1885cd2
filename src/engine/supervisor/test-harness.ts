/** What the tests of this room share: a supervisor process of their own, and short ways to say what they want. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import type { RuntimeSpec } from "#oci";

import { connectSupervisor, DescriptorKeeper, type SupervisorClient } from "./client.ts";
import type {
  BirthMessage,
  ExecMessage,
  ExitReport,
  ProcessKey,
  ProcessReport,
  StdioRequest,
} from "./protocol.ts";
import type { AttachedStreams } from "./streams.ts";

const text = new TextDecoder();

export const everything = { stdin: false, stdout: true, stderr: true, beforeBirth: false };
export const piped: StdioRequest = { openStdin: false, stdinOnce: false, terminal: null };
export const interactive: StdioRequest = { openStdin: true, stdinOnce: true, terminal: null };

export class Harness implements AsyncDisposable {
  readonly execRoot = mkdtempSync("/tmp/naru-test-supervisor-");
  readonly keeper = new DescriptorKeeper();
  readonly exits = new Map<string, ExitReport>();
  readonly #waiting = new Map<string, (exit: ExitReport) => void>();
  #server: Bun.Subprocess<"ignore", "pipe", "inherit"> | null = null;
  #client: SupervisorClient | null = null;

  static async start(): Promise<Harness> {
    const harness = new Harness();
    await harness.startServer();
    await harness.connect();
    return harness;
  }

  get client(): SupervisorClient {
    if (this.#client === null) throw new Error("not connected");
    return this.#client;
  }

  get serverPid(): number {
    return this.#server?.pid ?? -1;
  }

  async startServer(): Promise<number | null> {
    const script = join(import.meta.dir, "test-supervisor.ts");
    const server = Bun.spawn([process.execPath, script, this.execRoot], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    const { value } = await server.stdout.getReader().read();
    if (value === undefined) return await server.exited;
    this.#server = server;
    return null;
  }

  async connect(): Promise<SupervisorClient> {
    this.#client = await connectSupervisor({
      socketPath: join(this.execRoot, "supervisor.sock"),
      keeper: this.keeper,
      onEvent: (event) => {
        if (event.type === "exit") this.#onExit(event.exit);
      },
    });
    return this.#client;
  }

  /** What a daemon does after every connection: exits may have happened while it was away. */
  async catchUp(): Promise<ProcessReport[]> {
    const { processes } = await this.client.request({ type: "list" });
    for (const { exit } of processes) if (exit !== null) this.#onExit(exit);
    return processes;
  }

  #onExit(exit: ExitReport): void {
    const { id, execId } = exit.key;
    const name = execId === undefined ? id : `${id}.${execId}`;
    this.exits.set(name, exit);
    this.#waiting.get(name)?.(exit);
  }

  async killServer(): Promise<void> {
    const closed = this.client.closed;
    this.#server?.kill("SIGKILL");
    await this.#server?.exited;
    await closed;
  }

  exitOf(name: string): Promise<ExitReport> {
    const exit = this.exits.get(name);
    if (exit !== undefined) return Promise.resolve(exit);
    return new Promise((resolve) => this.#waiting.set(name, resolve));
  }

  birth(id: string, command: string, stdio: StdioRequest = piped) {
    this.exits.delete(id);
    return this.client.request(this.birthMessage(id, command, stdio));
  }

  birthMessage(id: string, command: string, stdio: StdioRequest = piped): BirthMessage {
    return {
      type: "birth",
      id,
      runtime: "test",
      spec: specOf(["sh", "-c", command]),
      root: { type: "directory", path: "/" },
      identity: { user: "", groups: [] },
      init: null,
      stdio,
      network: { mode: "none" },
      log: {
        driver: "json-file",
        path: this.logPath(id),
        maxSizeBytes: null,
        maxFiles: 1,
        compress: false,
        attributes: {},
      },
    };
  }

  exec(id: string, execId: string, command: string, stdio: StdioRequest = piped) {
    const message: ExecMessage = {
      type: "exec",
      id,
      execId,
      process: specOf(["sh", "-c", command]).process,
      identity: { user: "", groups: [] },
      stdio,
    };
    return this.client.request(message);
  }

  attach(key: ProcessKey, wanted: Partial<typeof everything> = {}): Promise<AttachedStreams> {
    return this.client.attach({ key, ...everything, ...wanted });
  }

  forget(key: ProcessKey) {
    return this.client.request({ type: "forget", key });
  }

  signal(key: ProcessKey, signal: number) {
    return this.client.request({ type: "signal", key, signal });
  }

  logPath(id: string): string {
    return join(this.execRoot, `${id}-json.log`);
  }

  /** What the log holds, as the container printed it. */
  log(id: string): string {
    return readFileSync(this.logPath(id), "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line).log)
      .join("");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { processes } = await this.client.request({ type: "list" });
    for (const { key, exit } of processes) {
      if (exit === null) await this.signal(key, 9).catch(() => undefined);
    }
    this.client.close();
    this.#server?.kill("SIGKILL");
    await this.#server?.exited;
    rmSync(this.execRoot, { recursive: true, force: true });
  }
}

function specOf(args: string[]): RuntimeSpec {
  return {
    ociVersion: "1.2.0",
    root: { path: "/", readonly: false },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args,
      env: [],
      cwd: "/",
      noNewPrivileges: false,
    },
    mounts: [],
    linux: {
      namespaces: [],
      devices: [],
      cgroupsPath: "/naru-test/none",
      resources: { devices: [] },
      maskedPaths: [],
      readonlyPaths: [],
    },
  };
}

/** Everything of a raw stream, as text. */
export async function readText(stream: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return text.decode(Buffer.concat(chunks));
}

/** Everything of a multiplexed stream, by stream. */
export async function readFrames(stream: ReadableStream<Uint8Array>) {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  const all = Buffer.concat(chunks);
  const streams = { stdout: "", stderr: "" };
  for (let at = 0; at + 8 <= all.length;) {
    const length = all.readUInt32BE(at + 4);
    streams[all[at] === 2 ? "stderr" : "stdout"] += all.toString("utf8", at + 8, at + 8 + length);
    at += 8 + length;
  }
  return streams;
}

/** Reads until a text has been seen. */
export async function readUntil(reader: ByteReader, wanted: string): Promise<string> {
  let seen = "";
  while (!seen.includes(wanted)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the stream ended after: ${seen}`);
    seen += text.decode(value);
  }
  return seen;
}

export interface ByteReader {
  read(): Promise<{ value?: Uint8Array | undefined; done: boolean }>;
}

export const readerOf = (stream: ReadableStream<Uint8Array>): ByteReader => stream.getReader();

/** Why a promise failed. */
export const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => {
      throw new Error("it did not fail");
    },
    (thrown: unknown) => thrown as Error,
  );
