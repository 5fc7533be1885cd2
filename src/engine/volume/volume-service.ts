/** The contract of the volume room: data that outlives containers. */

/** A volume of the `local` driver. */
export interface Volume {
  readonly name: string;
  /** ISO 8601, whole seconds. */
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The driver's options: `type`, `o`, `device`. Empty for a plain folder. */
  readonly options: Readonly<Record<string, string>>;
  /** Its folder on the host. */
  readonly path: string;
}

export interface VolumeUsage {
  readonly volume: Volume;
  readonly sizeBytes: number;
  /** Containers that have it, running or not. */
  readonly users: number;
}

export interface CreateVolumeRequest {
  /** "" lets the engine invent one, which makes the volume anonymous. */
  readonly name: string;
  /** "" is `local`, the only one there is. */
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** Docker's filters by name, values as given. */
export type VolumeFilters = Readonly<Record<string, readonly string[]>>;

export interface VolumeService {
  /** One that exists already is answered as it is. @throws EngineError "invalid", "notFound" for a driver */
  create(request: CreateVolumeRequest): Volume;
  /** @throws EngineError "notFound": `get x: no such volume` */
  get(name: string): Volume;
  /** By name. @throws EngineError "invalid" for a filter that is none */
  list(filters: VolumeFilters): Volume[];
  /** The name is free when it returns, the disk soon after. @throws EngineError "conflict" while a container has it; "notFound" unless forced */
  remove(name: string, request: { force: boolean }): void;
  /** Deletes what no container has: anonymous ones, or all. */
  prune(request: {
    all: boolean;
    filters: VolumeFilters;
  }): Promise<{ deleted: string[]; reclaimedBytes: number }>;
  /** Sizes, by walking every folder. */
  usage(): Promise<VolumeUsage[]>;
}

/** A container's mount of a volume. */
export interface VolumeMount {
  readonly name: string;
  /** Where, in the container. */
  readonly target: string;
  readonly readOnly: boolean;
  /** Do not fill it with what the image has there. */
  readonly noCopy: boolean;
  /** The folder of the volume that is mounted, relative; absent for the whole. */
  readonly subpath?: string;
}

/** A change that shares someone else's transaction. */
export interface VolumeChange {
  readonly isEmpty: boolean;
  /** Inside the transaction. */
  write(): void;
  /** After it: readers see the change, and what is left to do is done. */
  done(): void;
}

/** The service, and what the container room needs for a container's volumes. */
export interface VolumeRoom extends VolumeService {
  /** Those of the requests that do not exist yet. @throws EngineError as `create` */
  planCreation(requests: readonly CreateVolumeRequest[]): VolumeChange;
  /** Those of the names that nobody but `containerId` has. `after` settles when the files may go. */
  planRemoval(
    names: readonly string[],
    request: { containerId: string; after: Promise<void> },
  ): VolumeChange;
  path(name: string): string;
  /**
   * Makes a starting container's volumes ready: folders, mounts of the driver's options, and the image's content
   * where a volume is new.
   * @param request.lowers the image's layers as directories, topmost first
   */
  acquire(request: {
    containerId: string;
    mounts: readonly VolumeMount[];
    lowers: readonly string[];
    /** Ends the wait for a file system that does not answer. */
    signal?: AbortSignal;
  }): Promise<void>;
  /** The container runs no longer. May be called twice. */
  release(containerId: string): void;
  /** After a restart: who has what, so that what nobody has is unmounted. */
  reconcile(running: ReadonlyMap<string, readonly VolumeMount[]>): void;
  /** Resolves when no deletion waits. */
  swept(): Promise<void>;
}
