/**
 * The daemon's end. One control connection, and one connection for each attachment.
 *
 * It also keeps copies of the descriptors that keep processes reachable (pidfds, terminals, open stdin, unread
 * output): when the supervisor dies, the next one takes them back from here.
 */
import type { Socket } from "bun";

import { EngineError, unavailable } from "#base";
import { RuntimeError } from "#engine/runtime";
import { pidfdOpen } from "#linux/process";

import { closeDescriptor, nameDescriptor, takeDescriptor } from "./descriptors.ts";
import { encodeFrame, FrameReader } from "./frames.ts";
import { Outbox } from "./outbox.ts";
import {
  type AttachHello,
  type ControlFrame,
  type DescriptorOffer,
  type Hello,
  type HelloAnswer,
  PROTOCOL_VERSION,
  type ProcessDescriptors,
  type ProcessReport,
  type Requests,
  type RequestType,
  type SupervisorEvent,
  type SupervisorFailure,
} from "./protocol.ts";
import { nameOf } from "./records.ts";
import { type AttachedStreams, type EarlyStreams, openStreams } from "./streams.ts";

/** Requests without an answer: more means that the supervisor hangs. */
const PENDING_LIMIT = 10_000;

export interface SupervisorClient {
  /** The supervisor's process. */
  readonly pid: number;
  request<Type extends RequestType>(
    request: Requests[Type]["request"] & { readonly type: Type },
  ): Promise<Requests[Type]["answer"]>;
  attach(hello: Omit<AttachHello, "hello" | "channel" | "attachment">): Promise<AttachedStreams>;
  /** The same without waiting for the supervisor's word. */
  attachAhead(hello: Omit<AttachHello, "hello" | "channel" | "attachment">): EarlyStreams;
  /** Resolves when the connection is gone, whoever ended it. Pending requests have failed by then. */
  readonly closed: Promise<void>;
  close(): void;
}

export interface ConnectOptions {
  readonly socketPath: string;
  readonly onEvent: (event: SupervisorEvent) => void;
  /** Hand the same one to every connection of a daemon's life. */
  readonly keeper?: DescriptorKeeper;
}

/** @throws EngineError "unavailable" when nobody listens */
export async function connectSupervisor(options: ConnectOptions): Promise<SupervisorClient> {
  const keeper = options.keeper ?? new DescriptorKeeper();
  const channel = new ControlChannel(options, keeper);
  return await channel.open();
}

interface Pending {
  readonly type: RequestType;
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

class ControlChannel implements SupervisorClient {
  pid = 0;
  readonly closed: Promise<void>;
  readonly #options: ConnectOptions;
  readonly #keeper: DescriptorKeeper;
  readonly #pending = new Map<number, Pending>();
  readonly #frames = new FrameReader();
  readonly #setClosed: () => void;
  #seq = 0;
  #socket: Socket | null = null;
  #outbox: Outbox<undefined> | null = null;
  #greeted: { resolve(): void; reject(error: Error): void } | null = null;

  constructor(options: ConnectOptions, keeper: DescriptorKeeper) {
    this.#options = options;
    this.#keeper = keeper;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#setClosed = resolve;
  }

  async open(): Promise<SupervisorClient> {
    const { promise: greeted, resolve, reject } = Promise.withResolvers<void>();
    this.#greeted = { resolve, reject };
    const socket = await dial(this.#options.socketPath, {
      data: (_, bytes) => this.#onData(bytes),
      drain: () => this.#outbox?.drain(),
      close: () => this.#onClose(),
    });
    this.#socket = socket;
    this.#outbox = new Outbox(socket);
    const offers = this.#keeper.offers();
    const hello: Hello = {
      hello: PROTOCOL_VERSION,
      channel: "control",
      pid: process.pid,
      offers,
    };
    this.#outbox.write(encodeFrame(hello));
    await greeted;
    return this;
  }

  request<Type extends RequestType>(
    request: Requests[Type]["request"] & { readonly type: Type },
  ): Promise<Requests[Type]["answer"]> {
    if (this.#outbox === null || this.#socket === null) return Promise.reject(gone());
    if (this.#pending.size >= PENDING_LIMIT) {
      return Promise.reject(unavailable("the supervisor does not answer"));
    }
    const seq = (this.#seq += 1);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(seq, { type: request.type, resolve, reject });
    this.#outbox.write(encodeFrame({ seq, request }));
    return promise as Promise<Requests[Type]["answer"]>;
  }

  async attach(
    hello: Omit<AttachHello, "hello" | "channel" | "attachment">,
  ): Promise<AttachedStreams> {
    const streams = this.attachAhead(hello);
    await streams.joined;
    return streams;
  }

  attachAhead(hello: Omit<AttachHello, "hello" | "channel" | "attachment">): EarlyStreams {
    const attachment = crypto.randomUUID();
    const whole: AttachHello = { hello: PROTOCOL_VERSION, channel: "attach", attachment, ...hello };
    return openStreams(this.#options.socketPath, whole, () =>
      this.request({ type: "leave", attachment }),
    );
  }

  close(): void {
    this.#socket?.terminate();
  }

  #onData(bytes: Uint8Array): void {
    try {
      this.#frames.push(bytes);
      for (let frame = this.#frames.next(); frame !== undefined; frame = this.#frames.next()) {
        if (this.#greeted === null) this.#onFrame(frame as ControlFrame);
        else this.#onGreeting(frame as HelloAnswer);
      }
    } catch {
      this.#socket?.terminate(); // not our language: the connection is worth nothing
    }
  }

  #onGreeting(answer: HelloAnswer): void {
    const greeted = this.#greeted;
    this.#greeted = null;
    if ("error" in answer) {
      greeted?.reject(errorOf(answer.error));
      return;
    }
    this.pid = answer.pid;
    greeted?.resolve();
  }

  #onFrame(frame: ControlFrame): void {
    if ("event" in frame) {
      if (frame.event.type === "exit") this.#keeper.drop(nameOf(frame.event.exit.key));
      this.#options.onEvent(frame.event);
    } else if ("notice" in frame) {
      this.#keeper.dropStdin(nameOf(frame.notice.key));
    } else {
      const pending = this.#pending.get(frame.seq);
      this.#pending.delete(frame.seq);
      if (pending === undefined) return;
      if ("error" in frame) {
        pending.reject(errorOf(frame.error));
        return;
      }
      this.#keep(pending.type, frame.answer);
      pending.resolve(frame.answer);
    }
  }

  #keep(type: RequestType, answer: unknown): void {
    if (type === "birth" || type === "exec")
      this.#keeper.expect(this.pid, [answer as ProcessReport]);
    if (type === "list") {
      this.#keeper.expect(this.pid, (answer as Requests["list"]["answer"]).processes);
    }
  }

  #onClose(): void {
    this.#socket = null;
    this.#outbox?.closed();
    const error = gone();
    this.#greeted?.reject(error);
    this.#greeted = null;
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    this.#setClosed();
  }
}

/** Copies of the supervisor's descriptors, for the next supervisor. */
export class DescriptorKeeper {
  readonly #kept = new Map<string, Kept>();

  /** Takes copies soon, off the path of who waits for the answer. */
  expect(pid: number, reports: readonly ProcessReport[]): void {
    for (const report of reports) {
      const name = nameOf(report.key);
      const { descriptors } = report;
      if (report.exit !== null || descriptors === null || descriptors === undefined) {
        this.drop(name);
        continue;
      }
      if (this.#kept.get(name)?.report.startTime === report.startTime) continue;
      this.drop(name);
      this.#kept.set(name, { report, wanted: descriptors, copies: null });
    }
    setImmediate(() => this.#take(pid));
  }

  drop(name: string): void {
    const kept = this.#kept.get(name);
    this.#kept.delete(name);
    for (const copy of Object.values(kept?.copies ?? {})) if (copy !== null) closeDescriptor(copy);
  }

  dropStdin(name: string): void {
    const kept = this.#kept.get(name);
    if (kept === undefined) return;
    kept.wanted = { ...kept.wanted, stdin: null };
    if (kept.copies === null || kept.copies.stdin === null) return;
    closeDescriptor(kept.copies.stdin);
    kept.copies = { ...kept.copies, stdin: null };
  }

  offers(): DescriptorOffer[] {
    const name = (copy: number | null) => (copy === null ? null : nameDescriptor(copy));
    return [...this.#kept.values()].flatMap(({ report, copies }) => {
      if (copies === null) return [];
      const { pidfd, ptyMaster, stdin, stdout, stderr } = copies;
      const descriptors: ProcessDescriptors = {
        pidfd: name(pidfd),
        ptyMaster: name(ptyMaster),
        stdin: name(stdin),
        stdout: name(stdout),
        stderr: name(stderr),
      };
      return [{ key: report.key, startTime: report.startTime, descriptors }];
    });
  }

  #take(pid: number): void {
    const waiting = [...this.#kept.values()].filter(({ copies }) => copies === null);
    if (waiting.length === 0) return;
    let supervisor = -1;
    try {
      supervisor = pidfdOpen(pid);
      for (const kept of waiting) {
        const { pidfd, ptyMaster, stdin, stdout, stderr } = kept.wanted;
        kept.copies = {
          pidfd: takeDescriptor(supervisor, pidfd),
          ptyMaster: takeDescriptor(supervisor, ptyMaster),
          stdin: takeDescriptor(supervisor, stdin),
          stdout: takeDescriptor(supervisor, stdout),
          stderr: takeDescriptor(supervisor, stderr),
        };
      }
    } catch {
      // It died, or this process may not trace it: then there is nothing to keep, and nothing is worse than before.
    } finally {
      if (supervisor !== -1) closeDescriptor(supervisor);
    }
  }
}

interface Kept {
  readonly report: ProcessReport;
  wanted: ProcessDescriptors;
  copies: Readonly<Record<keyof ProcessDescriptors, number | null>> | null;
}

/** A Unix connection that may be half-closed. @throws EngineError "unavailable" */
export async function dial(
  path: string,
  handlers: {
    data(socket: Socket, bytes: Uint8Array): void;
    drain?(socket: Socket): void;
    end?(socket: Socket): void;
    close(socket: Socket): void;
  },
): Promise<Socket> {
  try {
    return await Bun.connect({
      unix: path,
      allowHalfOpen: handlers.end !== undefined,
      socket: { binaryType: "uint8array", ...handlers },
    });
  } catch (cause) {
    throw new EngineError("unavailable", `the supervisor does not answer at ${path}`, { cause });
  }
}

/** What was refused, as the error that the daemon's rooms expect. */
export function errorOf(failure: SupervisorFailure): Error {
  return failure.kind === "birth"
    ? new RuntimeError(failure.failure ?? "failed", failure.message)
    : new EngineError(failure.kind, failure.message);
}

const gone = () => unavailable("the supervisor is gone");
