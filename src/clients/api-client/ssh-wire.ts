/**
 * A connection through ssh: the remote client's `system dial-stdio` joins its standard streams to its daemon, so
 * nothing but ssh has to be open over there. One ssh process a connection.
 */
import { sentenceOf } from "#base";

import { endpointText, type Endpoint } from "./endpoint.ts";
import { ConnectionError } from "./errors.ts";
import type { Wire } from "./wire.ts";

const CONNECT_TIMEOUT_SECONDS = 30;
const STDERR_LIMIT = 8 * 1024;

type SshEndpoint = Extract<Endpoint, { kind: "ssh" }>;

/** ssh's words: where to, and what runs there, quoted for the remote shell. */
export function sshCommand({ user, hostname, port, path }: SshEndpoint): string[] {
  const host = path === "" ? "" : ` --host=unix://${path.replace(/[^\w/.-]/g, "\\$&")}`;
  const dial = `exec naru${host} system dial-stdio; fi; exec docker${host} system dial-stdio`;
  const remote = `if command -v naru >/dev/null 2>&1; then ${dial}`;
  return [
    "ssh",
    ...(user === "" ? [] : ["-l", user]),
    ...(port === "" ? [] : ["-p", port]),
    "-o",
    `ConnectTimeout=${CONNECT_TIMEOUT_SECONDS}`,
    "-T",
    "--",
    hostname,
    `sh -c '${remote.replaceAll("'", `'\\''`)}'`,
  ];
}

/** @throws ConnectionError when there is no ssh program; what ssh itself finds wrong is told by the first read */
export function openSshWire(endpoint: SshEndpoint): Wire {
  try {
    const words = sshCommand(endpoint);
    const child = Bun.spawn(words, { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    return new SshWire(child, endpoint);
  } catch (cause) {
    const text = endpointText(endpoint);
    const why = `error during connect: ${text}: ${sentenceOf(cause)}`;
    throw new ConnectionError("other", text, why, { cause });
  }
}

type Child = Bun.Subprocess<"pipe", "pipe", "pipe">;

class SshWire implements Wire {
  readonly #child: Child;
  readonly #endpoint: SshEndpoint;
  readonly #reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> };
  readonly #chunks: Uint8Array[] = [];
  readonly #stderr: Promise<string>;
  /** The one read under way: it sees the end also while nobody reads. */
  #coming: Promise<void> | null = null;
  #heard = false;
  #ended = false;
  #closed = false;

  constructor(child: Child, endpoint: SshEndpoint) {
    this.#child = child;
    this.#endpoint = endpoint;
    this.#reader = child.stdout.getReader();
    this.#stderr = new Response(child.stderr).text().catch(() => "");
    void this.#next();
  }

  #next(): Promise<void> {
    this.#coming ??= this.#reader
      .read()
      .then(
        ({ done, value }) => {
          if (done || value === undefined) this.#ended = true;
          else {
            this.#heard = true;
            this.#chunks.push(value);
          }
        },
        () => void (this.#ended = true),
      )
      .finally(() => (this.#coming = null));
    return this.#coming;
  }

  async read(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0) {
      if (this.#ended || this.#closed) {
        if (!this.#heard && !this.#closed) throw await this.#failure();
        return undefined;
      }
      await this.#next();
    }
    const chunk = this.#chunks.shift();
    if (this.#chunks.length === 0 && !this.#ended) void this.#next();
    return chunk;
  }

  async #failure(): Promise<ConnectionError> {
    const code = await this.#child.exited;
    const said = (await this.#stderr).slice(-STDERR_LIMIT).trim();
    const text = endpointText(this.#endpoint);
    return new ConnectionError(
      "other",
      text,
      `error during connect: ${text}: command [${sshCommand(this.#endpoint).join(" ")}] has exited with exit status ${code}, make sure the URL is valid, and naru or docker is installed on the remote host: stderr=${said}`,
    );
  }

  unread(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#chunks.unshift(bytes);
  }

  async write(bytes: Uint8Array | string): Promise<void> {
    if (this.#ended && !this.#heard) throw await this.#failure();
    if (this.#closed) throw new Error("the connection is closed");
    try {
      await this.#child.stdin.write(bytes);
      await this.#child.stdin.flush();
    } catch (cause) {
      // ssh is gone: why, it has said on its other stream.
      throw this.#heard ? cause : await this.#failure();
    }
  }

  /** ssh has buffers of its own. */
  widen(): Promise<void> {
    return Promise.resolve();
  }

  finish(): void {
    void this.#child.stdin.end();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#child.kill();
  }

  hold(needed: boolean): void {
    if (needed) this.#child.ref();
    else this.#child.unref();
  }

  get hasReceived(): boolean {
    return this.#chunks.length > 0;
  }

  get idle(): boolean {
    return !this.#closed && !this.#ended && this.#chunks.length === 0;
  }
}
