/** A stream to a log server: TCP, TLS or a Unix socket. Errors are in Go's words, which people know from Docker. */
import { existsSync, readFileSync } from "node:fs";
import { connect as connectNet, type Socket } from "node:net";
import { connect as connectTls, rootCertificates } from "node:tls";

import { sentenceOf, systemSentences } from "#base";

import type { TlsFiles } from "../target.ts";

const CONNECT_LIMIT_MS = 10_000;

export type StreamAddress =
  | { readonly type: "tcp" | "tls"; readonly host: string; readonly port: number }
  | { readonly type: "unix"; readonly path: string };

export class Connection {
  readonly #socket: Socket;
  #failure: Error | null = null;
  #waiting: ((failure: Error) => void) | null = null;

  constructor(socket: Socket, name: string, onData: (bytes: Uint8Array) => void) {
    this.#socket = socket;
    const fail = (cause: unknown) => {
      this.#failure ??= new Error(`write ${name}: ${goWords(cause)}`);
      this.#waiting?.(this.#failure);
      socket.destroy();
    };
    socket.on("data", onData);
    socket.on("error", fail);
    socket.on("end", () => fail("EOF"));
    socket.on("close", () => fail("use of closed network connection"));
  }

  get isOpen(): boolean {
    return this.#failure === null;
  }

  /** Resolves when the kernel has all of it: a peer that does not read is waited for. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.race(
      new Promise<void>((resolve, reject) => {
        this.#socket.write(bytes, (cause) => {
          if (cause) reject(new Error(goWords(cause)));
          else resolve();
        });
      }),
    );
  }

  /** The outcome of something that can only come while this is open. */
  async race<T>(outcome: Promise<T>): Promise<T> {
    outcome.catch(() => undefined);
    if (this.#failure !== null) throw this.#failure;
    const failed = new Promise<never>((_, reject) => {
      this.#waiting = reject;
    });
    try {
      return await Promise.race([outcome, failed]);
    } finally {
      this.#waiting = null;
    }
  }

  async close(): Promise<void> {
    if (!this.isOpen) return;
    await new Promise<void>((resolve) => {
      this.#socket.once("close", () => resolve());
      this.#socket.end(() => this.#socket.destroy());
    });
  }
}

/** @throws Error `dial tcp 127.0.0.1:514: connect: connection refused` */
export async function openConnection(
  address: StreamAddress,
  options: { tls?: TlsFiles; onData?: (bytes: Uint8Array) => void } = {},
): Promise<Connection> {
  const name =
    address.type === "unix"
      ? `unix ${address.path}`
      : `tcp ${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
  const socket = start(address, options.tls);
  const timer = setTimeout(() => socket.destroy(new Error("i/o timeout")), CONNECT_LIMIT_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.once(address.type === "tls" ? "secureConnect" : "connect", resolve);
      socket.once("close", () => reject(new Error("connection closed")));
    });
  } catch (cause) {
    socket.destroy();
    throw new Error(`dial ${name}: ${goWords(cause, "connect: ")}`, { cause });
  } finally {
    clearTimeout(timer);
  }
  socket.removeAllListeners();
  return new Connection(socket, name, options.onData ?? (() => undefined));
}

function start(address: StreamAddress, tls: TlsFiles | undefined): Socket {
  if (address.type === "unix") return connectNet({ path: address.path });
  const { host, port } = address;
  if (address.type === "tcp") return connectNet({ host, port });
  const isName = !/^[\d.]+$|:/.test(host);
  return connectTls({
    host,
    port,
    ...(isName ? { servername: host } : {}),
    ...tlsOptions(tls),
    minVersion: "TLSv1.2",
  });
}

/** @throws Error in the words of Docker's TLS configuration */
function tlsOptions(tls: TlsFiles | undefined) {
  if (tls === undefined) return {};
  const read = (path: string, what: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw new Error(`${what}: open ${path}: ${goWords(cause)}`, { cause });
    }
  };
  const ca = tls.ca === "" ? null : read(tls.ca, `could not read CA certificate "${tls.ca}"`);
  const hasKey = tls.cert !== "" || tls.key !== "";
  const pair = "could not load X509 key pair";
  return {
    rejectUnauthorized: !tls.skipVerify,
    ca: [...rootCertificates, ...hostAuthorities(), ...(ca === null ? [] : [ca])],
    ...(hasKey ? { cert: read(tls.cert, pair), key: read(tls.key, pair) } : {}),
  };
}

const BUNDLES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/** What this host trusts, a company's own among them; found as Go programs find it. */
function hostAuthorities(): string[] {
  const named = process.env["SSL_CERT_FILE"];
  const bundle = [...(named ? [named] : []), ...BUNDLES].find((path) => existsSync(path));
  return bundle === undefined ? [] : [readFileSync(bundle, "utf8")];
}

function goWords(cause: unknown, step = ""): string {
  const { code, hostname } = (cause ?? {}) as { code?: string; hostname?: string };
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return `lookup ${hostname ?? ""}: no such host`;
  const words = (systemSentences as Readonly<Record<string, string>>)[code ?? ""];
  return words === undefined ? sentenceOf(cause) : step + words;
}
