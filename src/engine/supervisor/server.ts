/**
 * The supervisor: parent of every container process. Small on purpose, since its heap is what every birth copies:
 * no Worker, no unbounded buffer, nothing of images or of Docker's API.
 *
 *   <exec-root>/supervisor.sock   0600
 *   <exec-root>/supervisor.lock   held while one lives: never two on one exec-root
 */
import { chmodSync, mkdirSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

import type { Socket } from "bun";

import { conflict, invalid, sentenceOf } from "#base";
import { allocate, attempt } from "#linux/ffi";
import { setNotDumpable, setSubreaper, widenBacklogs } from "#linux/process";

import { adoptEarlier, type Adoption } from "./adopt.ts";
import { Attacher } from "./attacher.ts";
import { O_RDWR, openDescriptor } from "./descriptors.ts";
import { explainBirth } from "./explain.ts";
import { failureOf } from "./failures.ts";
import { encodeFrame, FrameReader } from "./frames.ts";
import { startOrphanReaper } from "./orphans.ts";
import { becomeProgram, takeHandover } from "./handover.ts";
import { Outbox } from "./outbox.ts";
import { OutputLedger } from "./output-ledger.ts";
import type { SupervisorParts } from "./parts.ts";
import { ProcessTable } from "./process-table.ts";
import {
  type ControlFrame,
  type Hello,
  type HelloAnswer,
  PROTOCOL_VERSION,
  type RequestFrame,
} from "./protocol.ts";
import { openReadiness } from "./readiness.ts";
import { checkKey, Records } from "./records.ts";
import { enterOwnScope } from "./scope.ts";

/** Another supervisor holds the lock: what `naru supervisor` exits with. */
export const EXIT_ALREADY_RUNNING = 75;

/** A control connection that does not read is closed: it will reconnect and list. */
const CONTROL_OUTBOX_BYTES = 32 * 1024 * 1024;
const ATTACH_HELLO_BYTES = 64 * 1024;
const MEMORY_LOOK_MS = 60_000;
const MEMORY_ALARM_BYTES = 64 * 1024 * 1024;
const O_CREAT = 0o100;
const F_OFD_SETLK = 37;
const F_WRLCK = 1;

export interface SupervisorOptions {
  readonly execRoot: string;
  readonly parts: SupervisorParts;
  /** How long to wait for a daemon's copies after a crash; tests shorten it. */
  readonly offerWaitMs?: number;
}

export interface RunningSupervisor {
  /** Resolves when `shutdown` was asked for and answered. */
  readonly stopped: Promise<void>;
}

/** A second supervisor on one exec-root. */
export class AlreadyRunningError extends Error {}

/** Takes over the exec-root and serves. @throws AlreadyRunningError */
export async function runSupervisor(options: SupervisorOptions): Promise<RunningSupervisor> {
  setNotDumpable();
  const { execRoot, parts } = options;
  mkdirSync(execRoot, { recursive: true, mode: 0o700 });
  chmodSync(execRoot, 0o700);
  const handover = takeHandover();
  const lock = handover?.lock ?? takeLock(join(execRoot, "supervisor.lock"));
  setSubreaper(true);
  enterOwnScope((message) => parts.log("warn", message));
  const log = (thrown: unknown) => parts.log("error", sentenceOf(thrown));
  const server = new Server(options, lock);
  const records = new Records(execRoot);
  const ledger = OutputLedger.open(join(execRoot, "output.ledger"));
  if (ledger === null)
    parts.log("warn", "no ledger of output: a kill of this process may cut logs");
  const table = new ProcessTable({
    records,
    parts,
    ledger,
    readiness: await openReadiness(execRoot, log),
    announce: (event) => server.broadcast({ event }),
    notify: (notice) => server.broadcast({ notice }),
  });
  startOrphanReaper({ known: () => table.pids(), isBirthUnderWay: () => table.isBirthUnderWay });
  const adoption = adoptEarlier({
    records,
    table,
    warn: (message) => parts.log("warn", message),
    handed: handover?.processes ?? [],
    ...(options.offerWaitMs === undefined ? {} : { offerWaitMs: options.offerWaitMs }),
  });
  server.listen(table, adoption);
  void adoption.finished.then(() => {
    ledger?.forgetOthers();
    parts.deliveries.resume();
  });
  watchMemory(parts);
  return { stopped: server.stopped };
}

type Connection =
  | { readonly channel: "new"; readonly frames: FrameReader; readonly outbox: Outbox<Data> }
  | { readonly channel: "control"; readonly frames: FrameReader; readonly outbox: Outbox<Data> }
  | { readonly channel: "attach"; readonly attacher: Attacher };

interface Data {
  connection: Connection;
}

class Server {
  readonly stopped: Promise<void>;
  readonly #stop: () => void;
  readonly #options: SupervisorOptions;
  readonly #lock: number;
  /** By the names that their clients gave them. */
  readonly #attachers = new Map<string, Attacher>();
  readonly #controls = new Set<Socket<Data>>();
  #table: ProcessTable | null = null;
  #adoption: Adoption | null = null;

  constructor(options: SupervisorOptions, lock: number) {
    this.#options = options;
    this.#lock = lock;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopped = promise;
    this.#stop = resolve;
  }

  listen(table: ProcessTable, adoption: Adoption): void {
    this.#table = table;
    this.#adoption = adoption;
    const path = join(this.#options.execRoot, "supervisor.sock");
    rmSync(path, { force: true }); // the lock says that nobody listens
    Bun.listen<Data>({
      unix: path,
      allowHalfOpen: true,
      socket: {
        binaryType: "uint8array",
        open: (socket) => {
          const outbox = new Outbox(socket);
          socket.data = { connection: { channel: "new", frames: new FrameReader(), outbox } };
        },
        data: (socket, bytes) => this.#guard(socket, () => this.#onData(socket, bytes)),
        drain: (socket) => this.#onDrain(socket),
        end: (socket) => this.#guard(socket, () => this.#onEnd(socket)),
        close: (socket) => this.#onClose(socket),
        error: (_, error) => this.#options.parts.log("warn", `a connection: ${error.message}`),
      },
    });
    chmodSync(path, 0o600);
    widenBacklogs();
  }

  broadcast(frame: ControlFrame): void {
    if (this.#controls.size === 0) return;
    const bytes = encodeFrame(frame);
    for (const socket of this.#controls) this.#send(socket, bytes);
  }

  /** A client's mistake ends its connection, never the supervisor. */
  #guard(socket: Socket<Data>, act: () => void): void {
    try {
      act();
    } catch (thrown) {
      this.#options.parts.log("warn", `a connection: ${sentenceOf(thrown)}`);
      socket.terminate();
    }
  }

  #onData(socket: Socket<Data>, bytes: Uint8Array): void {
    const { connection } = socket.data;
    if (connection.channel === "attach") {
      connection.attacher.onData(bytes);
      return;
    }
    const { frames } = connection;
    frames.push(bytes);
    for (let frame = frames.next(); frame !== undefined; frame = frames.next()) {
      if (socket.data.connection.channel === "control") this.#onRequest(socket, frame);
      else {
        this.#onHello(socket, frames, frame as Hello);
        if (isAttach(socket)) return;
      }
    }
  }

  #onHello(socket: Socket<Data>, frames: FrameReader, hello: Hello): void {
    const table = this.#tableNow();
    const { connection } = socket.data;
    if (connection.channel !== "new") return;
    const { outbox } = connection;
    if (hello?.hello !== PROTOCOL_VERSION) throw invalid("a hello of another version");
    const answer: HelloAnswer = { hello: PROTOCOL_VERSION, pid: process.pid };
    if (hello.channel === "control") {
      socket.data.connection = { channel: "control", frames, outbox };
      this.#controls.add(socket);
      outbox.write(encodeFrame(answer));
      this.#adoption?.takeOffers(hello.pid, hello.offers);
      return;
    }
    const attacher = new Attacher(socket, { ...hello, key: checkKey(hello.key) });
    try {
      const early = frames.takeRest();
      if (early.length > ATTACH_HELLO_BYTES * 16) throw invalid("too much before the answer");
      socket.data.connection = { channel: "attach", attacher };
      this.#attachers.set(hello.attachment, attacher);
      attacher.send(encodeFrame(answer));
      table.attach(attacher);
      attacher.onData(early);
    } catch (thrown) {
      attacher.send(encodeFrame({ error: failureOf(thrown) } satisfies HelloAnswer));
      attacher.finish();
    }
  }

  #onRequest(socket: Socket<Data>, frame: unknown): void {
    const { seq, request } = frame as RequestFrame;
    if (typeof seq !== "number" || typeof request !== "object" || request === null) {
      throw invalid("a frame is no request");
    }
    this.#answer(request).then(
      (answer) => {
        this.#send(socket, encodeFrame({ seq, answer } satisfies ControlFrame));
        if (request.type === "shutdown") this.#stop();
      },
      (thrown) => {
        if (!(thrown instanceof Error)) this.#options.parts.log("error", String(thrown));
        this.#send(socket, encodeFrame({ seq, error: failureOf(thrown) } satisfies ControlFrame));
      },
    );
  }

  async #answer(request: RequestFrame["request"]): Promise<unknown> {
    const table = this.#tableNow();
    const { parts } = this.#options;
    switch (request.type) {
      case "expect":
        checkKey(request);
        await table.expect(request);
        return null;
      case "announce":
        checkKey(request);
        table.announce(request);
        return null;
      case "birth":
        checkKey(request);
        return await table.birth(request);
      case "exec":
        checkKey(request);
        return await table.exec(request);
      case "checkpoint":
        checkKey(request);
        await table.checkpoint(request);
        return null;
      case "abandon":
        checkKey(request);
        table.stalling.abandon(request.id);
        table.checkpoints.abandon(request.id);
        return null;
      case "explain":
        return { plan: explainBirth(parts, request) };
      case "signal":
        if (table.living(checkKey(request.key)).signal(request.signal)) return null;
        throw conflict(`container ${request.key.id} is not running`);
      case "resize":
        // What has no terminal has no size either: no error, as in Docker.
        table.living(checkKey(request.key)).resize(request);
        return null;
      case "leave":
        this.#attachers.get(request.attachment)?.leave();
        return null;
      case "list":
        await this.#adoption?.finished;
        return { processes: table.list() };
      case "forget":
        await table.forget(checkKey(request.key));
        return null;
      case "reservePorts":
        return { ports: await parts.ports.reserve(request) };
      case "releasePorts":
        await parts.ports.release(request.id);
        return null;
      case "listPorts":
        return { holders: parts.ports.list() };
      case "setDns":
        table.setDns(request.id, request.dns);
        return null;
      case "removeLinks":
        await parts.removeLinks(request.endpoints);
        return null;
      case "dropLog":
        await parts.deliveries.remove(request.folder);
        return null;
      case "upgrade":
        return await this.#prepareUpgrade(table, request.command);
      case "shutdown":
        await Promise.all([this.#adoption?.finished, table.dropAnnounced()]);
        if (table.livingCount === 0) return null;
        throw conflict(`${table.livingCount} processes are running`);
      default:
        throw invalid(`no such request: ${String((request as { type: unknown }).type)}`);
    }
  }

  /** Answers first: the client cannot be answered by what this process becomes. */
  async #prepareUpgrade(table: ProcessTable, command: readonly string[]): Promise<null> {
    await this.#adoption?.finished;
    const handOver = await table.handOver();
    handOver(); // refuses now, while it can be told
    setImmediate(() => {
      try {
        this.#options.parts.closeDrivers();
        becomeProgram(command, { version: 1, lock: this.#lock, processes: handOver() });
      } catch (thrown) {
        this.#options.parts.log("error", `upgrade: ${sentenceOf(thrown)}`);
      }
    });
    return null;
  }

  #send(socket: Socket<Data>, bytes: Uint8Array): void {
    const { connection } = socket.data;
    if (connection.channel !== "control") return;
    connection.outbox.write(bytes);
    if (connection.outbox.pendingBytes > CONTROL_OUTBOX_BYTES) socket.terminate();
  }

  #onDrain(socket: Socket<Data>): void {
    const { connection } = socket.data;
    if (connection.channel === "attach") connection.attacher.onDrain();
    else connection.outbox.drain();
  }

  #onEnd(socket: Socket<Data>): void {
    const { connection } = socket.data;
    if (connection.channel === "attach") connection.attacher.onEnd();
    else socket.end();
  }

  #onClose(socket: Socket<Data>): void {
    this.#controls.delete(socket);
    const { connection } = socket.data;
    if (connection.channel === "attach") {
      connection.attacher.onClose();
      this.#attachers.delete(connection.attacher.hello.attachment);
      this.#table?.leave(connection.attacher);
    } else {
      connection.outbox.closed();
    }
  }

  #tableNow(): ProcessTable {
    if (this.#table === null) throw conflict("the supervisor is starting");
    return this.#table;
  }
}

const isAttach = (socket: Socket<Data>): boolean => socket.data.connection.channel === "attach";

/** Held by the open file description: gone with the process, whatever kills it. */
function takeLock(path: string): number {
  const descriptor = openDescriptor(path, O_RDWR | O_CREAT, 0o600);
  const lock = allocate(32);
  new DataView(lock.buffer).setInt16(0, F_WRLCK, true);
  if (attempt("fcntl", descriptor, F_OFD_SETLK, lock) < 0) {
    throw new AlreadyRunningError(`a supervisor holds ${path}`);
  }
  attempt("ftruncate", descriptor, 0);
  writeSync(descriptor, `${process.pid}\n`);
  return descriptor;
}

/** Every birth copies this heap's page tables: growth is a defect to be heard of. */
function watchMemory(parts: SupervisorParts): void {
  const before = process.memoryUsage.rss();
  let isTold = false;
  const look = () => {
    const grown = process.memoryUsage.rss() - before;
    if (grown < MEMORY_ALARM_BYTES) {
      isTold = false;
      return;
    }
    Bun.gc(true);
    if (!isTold) parts.log("warn", `the supervisor grew by ${Math.round(grown / 1e6)} MB`);
    isTold = true;
  };
  setInterval(look, MEMORY_LOOK_MS).unref();
}
