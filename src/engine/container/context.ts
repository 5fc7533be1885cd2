/** What every part of the container room works with, and what is known of a container only while the engine runs. */
import { type Clock, type Later, nothingLater, sentenceOf, SerialQueue } from "#base";
import type { EventBus } from "#engine/events";
import type { GarbageCollector } from "#engine/gc";
import type { ImageService } from "#engine/image";
import type { LayerStore } from "#engine/layer";
import type { NetworkService } from "#engine/network";
import type { SnapshotStore } from "#engine/snapshot";
import type { StatsSampler } from "#engine/stats";
import type { RuntimeDefaults } from "#engine/runtime";
import type { Store } from "#engine/store";
import type { VolumeRoom } from "#engine/volume";
import type {
  AttachHello,
  ExitReport,
  ProcessKey,
  Requests,
  RequestType,
} from "#engine/supervisor";

import type { Announced } from "./announce.ts";
import type { WaitResult } from "./container-service.ts";
import type { ExecTable } from "./exec-table.ts";
import type { HealthTable } from "./health-table.ts";
import type { HostFacts } from "./host-facts.ts";
import type { Records } from "./records.ts";
import type { Sweeper } from "./sweeper.ts";
import type { EngineOptions } from "./validate.ts";

/** One process' streams, as the supervisor's attach channel carries them. */
export interface AttachedStreams {
  readonly output: ReadableStream<Uint8Array>;
  /** Closing it is end of file. */
  readonly input: WritableStream<Uint8Array>;
  close(): void;
}

/** Streams that the supervisor may not have heard of yet. */
export interface EarlyStreams extends AttachedStreams {
  /** Rejects as the supervisor refuses; the output has ended then. */
  readonly joined: Promise<void>;
}

/** The supervisor, whichever one lives: the daemon puts a new one behind this when the old one died. */
export interface SupervisorLink {
  request<Type extends RequestType>(
    request: Requests[Type]["request"] & { readonly type: Type },
  ): Promise<Requests[Type]["answer"]>;
  attach(hello: Omit<AttachHello, "hello" | "channel" | "attachment">): Promise<AttachedStreams>;
  /** Without waiting for its word. */
  attachAhead(hello: Omit<AttachHello, "hello" | "channel" | "attachment">): Promise<EarlyStreams>;
}

export interface Log {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface ContainerPaths {
  /** `<data-root>/containers`. */
  readonly containers: string;
}

/** The rooms below, as this one uses them. */
export interface ContainerRooms {
  readonly store: Store;
  readonly images: ImageService;
  readonly layers: LayerStore;
  readonly snapshots: SnapshotStore;
  readonly network: NetworkService;
  readonly volumes: VolumeRoom;
  readonly supervisor: SupervisorLink;
  readonly events: EventBus;
  readonly gc: Pick<GarbageCollector, "addRoots" | "release">;
}

/** A build's RUN that goes on. */
export interface LiveStep {
  readonly settle: (exit: ExitReport) => void;
  /** The supervisor has told that it runs: if it does not know it any more, it has ended. */
  isBorn: boolean;
}

export interface Waiter {
  readonly condition: "next-exit" | "removed";
  readonly settle: (result: WaitResult) => void;
}

/** What a container is doing right now. A crash forgets it, and start-up needs none of it. */
export interface Live {
  readonly queue: SerialQueue;
  /**
   * A birth is under way: an exit that arrives first waits here for the record of its start. `giveUp` is set while it
   * waits for a file system that may never answer.
   */
  starting: { exit: ExitReport | null; giveUp: (() => void) | null } | null;
  /** Gives back what the last run used. Never rejects. */
  teardown: Later<void>;
  readonly waiters: Set<Waiter>;
  /** The last restart's delay, and the timer of the next one. */
  restartDelayMs: number | null;
  restartTimer: NodeJS.Timeout | null;
  /** Gives up the checkpoint that is being made; null while none is. */
  checkpoint: AbortController | null;
  /** Of an `rm` that is under way: another one is told so. */
  removing: boolean;
  /** A restart by a person: the end of its first half neither removes it nor asks its policy. */
  restarting: boolean;
  /** Ends the monitor that probes it; null while none does. */
  health: AbortController | null;
  /** Attachments that were made before the start, which waits for them to join: ended when it fails. */
  readonly earlyAttachments: Set<Pick<EarlyStreams, "joined" | "close">>;
}

export interface Context extends ContainerRooms {
  readonly records: Records;
  readonly execs: ExecTable;
  readonly health: HealthTable;
  /** Who waits for the end of an exec, by its id: told its exit code. */
  readonly execEnds: Map<string, (exitCode: number) => void>;
  readonly sweeper: Sweeper;
  readonly stats: StatsSampler;
  readonly options: EngineOptions;
  readonly facts: HostFacts;
  readonly specDefaults: RuntimeDefaults;
  readonly paths: ContainerPaths;
  readonly clock: Clock;
  readonly log: Log;
  /** The process that is asked for files which may never answer; absent: they are read here. */
  readonly filesCommand?: () => readonly string[];
  /** Told of every health check that has ended. */
  readonly onProbed?: (probed: { startSeconds: number; failed: boolean }) => void;
  readonly lives: Map<string, Live>;
  /** Builds' RUNs that go on, by id: whoever waits for the end. */
  readonly steps: Map<string, LiveStep>;
  /** Execs whose birth is under way. */
  readonly startingExecs: Map<string, Promise<void>>;
  /** Lets the supervisor forget an exec once its end is written. */
  forgetLater: (key: ProcessKey) => void;
  /** The container that is made ready for a start that nobody asked for yet. */
  announced: Announced | null;
  /** The engine is stopping its containers: their ends are no person's wish, and nothing starts them again. */
  ending: boolean;
  /** Aborted when the daemon stops serving: restarts and waits end. */
  readonly closing: AbortSignal;
}

/** The live part of a container; made when first asked for. */
export function liveOf(context: Pick<Context, "lives">, id: string): Live {
  let live = context.lives.get(id);
  if (live === undefined) {
    live = {
      queue: new SerialQueue(),
      starting: null,
      teardown: nothingLater,
      waiters: new Set(),
      restartDelayMs: null,
      restartTimer: null,
      checkpoint: null,
      removing: false,
      restarting: false,
      health: null,
      earlyAttachments: new Set(),
    };
    context.lives.set(id, live);
  }
  return live;
}

/** Work nobody waits for: its failure is told in the log, never lost and never fatal. */
export function inBackground(
  context: Pick<Context, "log">,
  what: string,
  work: Promise<unknown>,
): void {
  work.catch((cause: unknown) => {
    context.log.error(what, { error: sentenceOf(cause) });
  });
}

/** Nobody will be born for those who wait for it. */
export function endEarlyAttachments(live: Live): void {
  for (const attached of live.earlyAttachments) attached.close();
  live.earlyAttachments.clear();
}
