/**
 * A runtime driver turns an OCI runtime spec into a process. `native` runs a plan of system calls,
 * `oci` drives crun or runc; both pass one suite (driver.suite.ts) and run inside the supervisor.
 */
import type { ProcessSpec, ResourcesSpec, RuntimeSpec } from "#oci";

/** The container's file tree: overlayfs over mounted layers. Paths are the host's. */
export type RootFileSystem =
  | {
      readonly type: "overlay";
      /** Mounted layer directories, topmost first. */
      readonly lowers: readonly string[];
      readonly upper: string;
      readonly work: string;
    }
  /** A directory used as it is (tests, `--rootfs`). */
  | { readonly type: "directory"; readonly path: string };

/** Where the three standard streams of a process go; descriptors are the supervisor's, borrowed for the call. */
export type ProcessStdio =
  | {
      readonly type: "pipes";
      readonly stdin: number;
      readonly stdout: number;
      readonly stderr: number;
    }
  /** The driver makes a pty inside the container and answers its master. */
  | { readonly type: "terminal"; readonly columns: number; readonly rows: number };

/**
 * Who runs the program, as asked: the driver reads the container's own /etc/passwd and /etc/group, resolved inside
 * its root through descriptors, fills `process.user` and adds HOME where the environment has none.
 */
export interface Identity {
  /** "", "name", "uid", "name:group", "uid:gid": as in `--user`. "" is uid 0 with its groups. */
  readonly user: string;
  /** `--group-add`: names or numbers. */
  readonly groups: readonly string[];
}

/** What is bound, already open: its file system is asked nothing more. */
export interface OpenTree {
  readonly descriptor: number;
  readonly directory: boolean;
}

export interface BirthRequest {
  /** The container's id: 64 hexadecimal digits. */
  readonly id: string;
  readonly spec: RuntimeSpec;
  readonly root: RootFileSystem;
  readonly identity: Identity;
  readonly stdio: ProcessStdio;
  /** A folder of the driver's own for this container (bundle, mount point); exists, removed by `release`. */
  readonly scratch: string;
  /** Run an init as pid 1 (`--init`): the host path of a static init binary, bind-mounted at /sbin/docker-init. */
  readonly init: string | null;
  /** Detached mounts by the index of the spec's mount whose source they are, the caller's. Absent: all are opened here. */
  readonly openTrees?: ReadonlyMap<number, OpenTree>;
  /** Ends the birth: it may wait for a file system that does not answer. Absent: nothing of it can. */
  readonly signal?: AbortSignal;
  /**
   * Called once, synchronously, when the child's namespaces exist and before anything of the image runs:
   * the supervisor builds the network here. A throw ends the birth and nothing is left.
   */
  /** A network namespace made ahead, instead of a new one; the caller's. Only for drivers that say so. */
  readonly networkNamespace?: number | null;
  readonly prepare: (child: { readonly pid: number; readonly networkNamespace: number }) => void;
}

export interface ExecRequest {
  readonly id: string;
  /** The container's init process, as a pidfd. */
  readonly pidfd: number;
  readonly pid: number;
  /** The container's own spec: an exec keeps its seccomp filter, namespaces and cgroup. */
  readonly spec: RuntimeSpec;
  readonly process: ProcessSpec;
  readonly identity: Identity;
  readonly stdio: ProcessStdio;
  readonly scratch: string;
}

/** A container that runs, to be written down as files. */
export interface CheckpointRequest {
  /** The container's init process. */
  readonly pid: number;
  readonly spec: RuntimeSpec;
  /** The folder with the FIFOs of its streams: their paths, as other processes see them. */
  readonly streams: string;
  /** An empty folder for the files. */
  readonly images: string;
  /** Otherwise every process of it is killed once all is written. */
  readonly leaveRunning: boolean;
  /** A descriptor that whoever writes keeps open until it is done: somebody may wait for that. */
  readonly held: number;
  /** Ends the writing. */
  readonly signal: AbortSignal;
}

/** A birth from a checkpoint's files. */
export interface RestoreRequest extends BirthRequest {
  readonly images: string;
}

/** A process that executes the image's program. The receiver owns the descriptors. */
export interface Born {
  readonly pid: number;
  readonly pidfd: number;
  readonly ptyMaster: number | null;
  /**
   * The mount namespace that the birth made, where the driver can tell: an end is seen at once while somebody holds it,
   * and about 1 ms later where it is the last process that takes its mounts down. The receiver's, too.
   */
  readonly mountNamespace: number | null;
}

/**
 * Why a process could not be born. `kind` decides the exit code clients show: "notFound" is 127
 * (executable file not found in $PATH, no such file), "notExecutable" is 126 (permission denied, is a
 * directory, exec format error), "failed" everything else (128 in inspect, 125 at `docker run`).
 */
export type BirthFailure = "notFound" | "notExecutable" | "failed";

/** What is known of a birth before its file tree and network are there. */
export interface ExpectedBirth {
  readonly id: string;
  readonly cgroupsPath: string;
  readonly resources: ResourcesSpec;
}

/** A birth without its end: the child has built its file tree, or is about to, and waits for its network. */
export interface BegunBirth {
  /** The host's number of the child, which nobody else knows. */
  readonly pid: number;
  /** Whether it waits still: somebody may have killed it, or something of its file tree could not be made. */
  isWaiting(): boolean;
  /** Why one waits no more: what it said, or how it was ended. */
  lastWords(): Promise<string>;
  /** Once. Resolves when execve has succeeded. @throws RuntimeError; nothing is left then */
  complete(prepare: BirthRequest["prepare"]): Promise<Born>;
  /** Ends the child instead; nothing is left. */
  abandon(): void;
}

export interface RuntimeDriver {
  readonly name: string;
  /** Whether a birth may be given its network namespace. */
  readonly takesNetworkNamespace?: boolean;
  /** Makes now what a birth will need. Undone by `release`, by a birth that differs, or when none comes. */
  expect?(request: ExpectedBirth): void;
  /** The first part of a birth; null for one that is too special to be interrupted. @throws RuntimeError */
  begin?(request: Omit<BirthRequest, "prepare">): BegunBirth | null;
  /** Resolves when execve has succeeded. @throws RuntimeError, its sentence in Docker's words */
  birth(request: BirthRequest): Promise<Born>;
  /** What a birth would do, one step a line; nothing is started. Drivers of other programs cannot tell. */
  explain?(request: BirthRequest): string;
  /** @throws RuntimeError */
  exec(request: ExecRequest): Promise<Born>;
  /** Writes a container down. Drivers that cannot do not have it. @throws RuntimeError; it runs on then */
  checkpoint?(request: CheckpointRequest): Promise<void>;
  /** As `birth`, from what `checkpoint` wrote. @throws RuntimeError; nothing is left then */
  restore?(request: RestoreRequest): Promise<Born>;
  /** Removes what the driver keeps for a container that has ended (bundle, runtime state). May run twice. */
  release(request: { readonly id: string; readonly scratch: string }): Promise<void>;
  /** Ends what the driver keeps running for itself; containers live on. */
  [Symbol.dispose]?(): void;
}

export class RuntimeError extends Error {
  readonly failure: BirthFailure;

  constructor(failure: BirthFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RuntimeError";
    this.failure = failure;
  }
}
