/** What every part of the build room works with. */
import { type Clock, EngineError } from "#base";
import type { FoundDevice, StepRequest, StepResult } from "#engine/container";
import type { GarbageCollector } from "#engine/gc";
import type { ImageService } from "#engine/image";
import type { LayerStore } from "#engine/layer";
import type { SnapshotStore } from "#engine/snapshot";
import type { Digest } from "#oci";

import type { BuildCache } from "./cache.ts";
import type { Entitlement } from "./entitlements.ts";
import type { KeptContexts } from "./kept-contexts.ts";

export interface BuildRooms {
  readonly images: ImageService;
  readonly layers: LayerStore;
  readonly snapshots: SnapshotStore;
  readonly gc: GarbageCollector;
  readonly containers: {
    runStep(request: StepRequest): Promise<StepResult>;
    devicesNamed(name: string): readonly FoundDevice[];
    resizeStep(id: string, size: { columns: number; rows: number }): Promise<void>;
  };
}

export interface BuildPaths {
  /** `<data-root>/build`: contexts that arrived, cache folders, scratch of mounts. */
  readonly data: string;
  /** `<exec-root>/build`: mounts and secrets of running steps. */
  readonly run: string;
}

export interface BuildLog {
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface Context extends BuildRooms {
  readonly cache: BuildCache;
  readonly kept: KeptContexts;
  readonly paths: BuildPaths;
  readonly clock: Clock;
  readonly log: BuildLog;
  /** What the operator lets builds ask for. */
  readonly entitlements: ReadonlySet<Entitlement>;
  /** Steps that are being done, by key: who needs the same waits for it. */
  readonly doing: Map<string, Promise<{ layer: Digest | null; createdMs: number }>>;
  /** Cache folders that running builds use. */
  readonly inUse: { readonly folders: Map<string, number> };
  /** Cache folders that get the files they start with. */
  readonly filling: Map<string, Promise<void>>;
  /** The ends of queues for locked cache folders. */
  readonly locks: Map<string, Promise<void>>;
}

/** A RUN whose program ended with something else than 0. */
export class StepFailed extends EngineError {
  readonly exitCode: number;
  readonly command: readonly string[];

  constructor(message: string, exitCode: number, command: readonly string[]) {
    super("internal", message);
    this.exitCode = exitCode;
    this.command = command;
  }
}
