/**
 * One process of a container, its init or an exec: its streams, its attachers and how it ends.
 *
 * The order at the end is a promise: all that it printed before its end is in the log and on its way to the
 * attachers, then the exit is recorded, then announced.
 */
import { close } from "node:fs";

import type { LogStream, LogWriter } from "#engine/logs";
import { pidfdSendSignal } from "#linux/process";
import { setWindowSize } from "#linux/pty";

import type { AttachedProcess, Attacher } from "./attacher.ts";
import { closeDescriptor, duplicate, nameDescriptor } from "./descriptors.ts";
import { type ProcessEnd, readProcessEnd } from "./end.ts";
import type { ReadEnd } from "./foreign-exits.ts";
import type { HandedProcess } from "./handover.ts";
import { Input } from "./input.ts";
import { type Chunk, type ChunkGuard, Output } from "./output.ts";
import { guardOf, type OutputLedger, streamName } from "./output-ledger.ts";
import type { ExitReport, ProcessKey, ProcessReport, StdioRequest } from "./protocol.ts";
import type { Readiness } from "./readiness.ts";
import type { StreamHandles } from "./stdio.ts";

/** An attacher beside others that took nothing for so long is cut off. */
const STALL_LIMIT_MS = 10_000;
const STALL_LOOK_MS = 1000;

const STREAMS = ["stdout", "stderr"] as const;

/** What names a process for ever. */
export interface ProcessIdentity {
  readonly key: ProcessKey;
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
  readonly startedAt: string;
}

export interface ProcessOptions {
  readonly identity: ProcessIdentity;
  readonly stdio: StdioRequest;
  readonly pidfd: number;
  /** Held until the end was told: see `Born`. */
  readonly mountNamespace: number | null;
  readonly handles: StreamHandles;
  readonly log: LogWriter;
  readonly ledger: OutputLedger | null;
  readonly readiness: Readiness;
  /** Of a process that is nobody's child here. */
  readonly readEnd?: ReadEnd;
  readonly onStdinClosed: (process: SupervisedProcess) => void;
  /** Its output is drained; the attachers are still there. */
  readonly onEnd: (process: SupervisedProcess, end: ProcessEnd) => void;
}

export class SupervisedProcess implements AttachedProcess {
  readonly identity: ProcessIdentity;
  readonly stdio: StdioRequest;
  readonly pidfd: number;
  /** Set by the owner once it is recorded. */
  exit: ExitReport | null = null;
  readonly #options: ProcessOptions;
  readonly #outputs: Output[] = [];
  readonly #input: Input | null;
  readonly #ptyMaster: number | null;
  readonly #attachers = new Set<Attacher>();
  readonly #blocked = new Set<Attacher>();
  #stallTimer: Timer | null = null;
  #hasEnded = false;
  #hasReleasedMounts = false;
  #isLogFull = false;

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.identity = options.identity;
    this.stdio = options.stdio;
    this.pidfd = options.pidfd;
    if (options.log.onRoom !== undefined) options.log.onRoom = () => this.#waitForLog(false);
    const { ptyMaster, stdin, stdout, stderr } = options.handles;
    this.#ptyMaster = ptyMaster;
    // A second descriptor, since one epoll entry has one handler.
    const input = ptyMaster === null ? stdin : duplicate(ptyMaster);
    this.#input = input === null ? null : this.#openInput(input);
    for (const [stream, descriptor] of [
      ["stdout", ptyMaster ?? stdout],
      ["stderr", stderr],
    ] as const) {
      if (descriptor !== null) this.#outputs.push(this.#openOutput(stream, descriptor));
    }
    options.readiness.watch(options.pidfd, { readable: true, writable: false }, () => this.#reap());
  }

  get key(): ProcessKey {
    return this.identity.key;
  }

  get isTerminal(): boolean {
    return this.stdio.terminal !== null;
  }

  get isAlive(): boolean {
    return !this.#hasEnded;
  }

  report(): ProcessReport {
    const { identity, exit } = this;
    return { ...identity, exit, descriptors: this.isAlive ? this.#descriptors() : null };
  }

  attach(attacher: Attacher): void {
    this.#attachers.add(attacher);
    attacher.join(this);
  }

  detach(attacher: Attacher): void {
    this.#attachers.delete(attacher);
    this.setBlocked(attacher, false);
  }

  takeInput(bytes: Uint8Array): boolean {
    this.#input?.write(bytes);
    return this.#input?.isFull !== true;
  }

  inputEnded(): void {
    // A terminal has no end of input: its user types it.
    if (this.stdio.stdinOnce && !this.isTerminal) this.#input?.end();
  }

  setBlocked(attacher: Attacher, isBlocked: boolean): void {
    if (isBlocked) this.#blocked.add(attacher);
    else if (!this.#blocked.delete(attacher)) return;
    this.#pauseOrResume();
    if (this.#blocked.size > 0)
      this.#stallTimer ??= setInterval(() => this.#cutStalled(), STALL_LOOK_MS);
    else this.#stopStallTimer();
  }

  /** An attacher, or a log server that the container is to wait for, cannot take more. */
  #pauseOrResume(): void {
    const mustWait = this.#blocked.size > 0 || this.#isLogFull;
    for (const output of this.#outputs) {
      if (mustWait) output.pause();
      else output.resume();
    }
  }

  #waitForLog(isFull: boolean): void {
    if (this.#isLogFull === isFull) return;
    this.#isLogFull = isFull;
    if (!this.#hasEnded) this.#pauseOrResume();
  }

  /** @returns false when it has ended */
  signal(signal: number): boolean {
    return this.isAlive && pidfdSendSignal(this.pidfd, signal);
  }

  /** @returns false when there is no terminal */
  resize(size: { readonly columns: number; readonly rows: number }): boolean {
    if (this.#ptyMaster === null || !this.isAlive) return false;
    setWindowSize(this.#ptyMaster, size);
    return true;
  }

  /** Nobody is attached and nothing waits to be written: it can be handed over. */
  get isQuiet(): boolean {
    return this.#attachers.size === 0 && this.#input?.isIdle !== false;
  }

  /** What a successor needs. Nothing may be read from here on. */
  handOver(): HandedProcess {
    const { log } = this.#options;
    const base64 = (stream: LogStream) => Buffer.from(log.unfinished(stream)).toString("base64");
    return {
      key: this.key,
      startTime: this.identity.startTime,
      handles: this.#openHandles(),
      unfinished: { stdout: base64("stdout"), stderr: base64("stderr") },
    };
  }

  /** After the announcement: the attachers get their last bytes and are closed. */
  releaseAttachers(): void {
    for (const attacher of this.#attachers) attacher.finish();
    this.#attachers.clear();
    this.#blocked.clear();
    this.#stopStallTimer();
  }

  /** Lets the mounts go. Taking them down is the kernel's work of a millisecond: another thread waits for it. */
  async releaseMounts(): Promise<void> {
    const { mountNamespace } = this.#options;
    if (mountNamespace === null || this.#hasReleasedMounts) return;
    this.#hasReleasedMounts = true;
    await new Promise<void>((done, failed) => {
      close(mountNamespace, (error) => (error === null ? done() : failed(error)));
    });
  }

  /** Gives every descriptor back. What a grandchild still writes is read (and dropped) until its end, or this. */
  closeStreams(): void {
    for (const output of this.#outputs) output.close();
  }

  #openInput(descriptor: number): Input {
    return new Input({
      readiness: this.#options.readiness,
      descriptor,
      onRoom: () => {
        for (const attacher of this.#attachers) attacher.roomForInput();
      },
      onClosed: () => this.#options.onStdinClosed(this),
    });
  }

  #openOutput(stream: LogStream, descriptor: number): Output {
    return new Output({
      readiness: this.#options.readiness,
      descriptor,
      isTerminal: this.isTerminal,
      guard: this.#guardOf(stream),
      deliver: (chunk) => this.#deliver(stream, chunk),
      onEnd: () => {
        this.#options.log.end(stream);
        this.#options.ledger?.release(streamName(this.key, stream));
      },
    });
  }

  /** Null for what is in no log, and for a terminal, whose reading end cannot be copied. */
  #guardOf(stream: LogStream): ChunkGuard | null {
    const { ledger, log } = this.#options;
    if (ledger === null || this.isTerminal || log.position === undefined) return null;
    const name = streamName(this.key, stream);
    return guardOf({ ledger, log, stream, name, isOpen: () => !this.#hasEnded });
  }

  #deliver(stream: LogStream, chunk: Chunk): void {
    if (this.#hasEnded) return;
    const { log } = this.#options;
    log.write(stream, chunk.bytes);
    if (log.mustWait === true) this.#waitForLog(true);
    for (const attacher of this.#attachers) attacher.deliver(stream, chunk, this.isTerminal);
  }

  #reap(): void {
    const { readEnd = readProcessEnd } = this.#options;
    const end = readEnd(this.identity, this.pidfd);
    if (end === null || this.#hasEnded) return;
    this.#options.readiness.forget(this.pidfd);
    for (const output of this.#outputs) output.drain();
    this.#hasEnded = true;
    this.#options.log.close();
    for (const stream of STREAMS) this.#options.ledger?.release(streamName(this.key, stream));
    this.#input?.close();
    for (const output of this.#outputs) {
      if (this.isTerminal) output.close();
      else output.resume();
    }
    closeDescriptor(this.pidfd);
    this.#options.onEnd(this, end);
  }

  #cutStalled(): void {
    if (this.#attachers.size < 2) return;
    const limit = performance.now() - STALL_LIMIT_MS;
    for (const attacher of this.#blocked) {
      if (attacher.lastProgressAt < limit) attacher.terminate();
    }
  }

  #stopStallTimer(): void {
    if (this.#stallTimer !== null) clearInterval(this.#stallTimer);
    this.#stallTimer = null;
  }

  #descriptors() {
    const { pidfd, ptyMaster, stdin, stdout, stderr } = this.#openHandles();
    const name = (descriptor: number | null) =>
      descriptor === null ? null : nameDescriptor(descriptor);
    return {
      pidfd: name(pidfd),
      ptyMaster: name(ptyMaster),
      stdin: name(stdin),
      stdout: name(stdout),
      stderr: name(stderr),
    };
  }

  #openHandles() {
    const { stdout, stderr } = this.#options.handles;
    const ifOpen = (descriptor: number | null) =>
      this.#outputs.some((output) => output.descriptor === descriptor && output.isOpen)
        ? descriptor
        : null;
    const hasInput = !this.isTerminal && this.#input?.isOpen === true;
    return {
      pidfd: this.pidfd,
      ptyMaster: this.#ptyMaster,
      stdin: hasInput ? (this.#input?.descriptor ?? null) : null,
      stdout: ifOpen(stdout),
      stderr: ifOpen(stderr),
    };
  }
}
