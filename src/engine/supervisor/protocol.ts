/**
 * The language between daemon and supervisor, version 1.
 *
 * A Unix stream socket (`<exec-root>/supervisor.sock`, 0600 in a root-only folder). Every connection begins with
 * one frame from the client: `{ "hello": 1, "channel": "control" | "attach", … }`, answered by one frame
 * `{ hello: 1, pid }` or `{ error }`.
 *
 * control: frames both ways, each a 4-byte big-endian length and that many bytes of JSON. The daemon sends
 * `{ seq, request }`, the supervisor answers `{ seq, answer }` or `{ seq, error }` in any order, and sends
 * `{ event }` to every control connection. `{ notice }` is for the client's own bookkeeping.
 *
 * attach: after the hello frame and its answer, the socket carries the streams of one process themselves.
 * Towards the daemon: Docker's multiplexed frames (type, 0, 0, 0, 4-byte big-endian length, bytes) without a
 * terminal, raw bytes with one. Towards the supervisor: raw stdin bytes; shutdown(SHUT_WR) is end of file;
 * closing the connection altogether is not, since a daemon's death does that too.
 * The supervisor closes when the process has ended and its output is drained.
 *
 * A process is named by `ProcessKey`: a container's init is { id }, an exec { id, execId }.
 */
import type { LogTarget } from "#engine/log-delivery";
import type {
  BridgeEndpoint,
  ContainerDns,
  LinkKind,
  NetworkAttachment,
  PortBinding,
} from "#engine/network";
import type { BirthFailure, Identity, RootFileSystem } from "#engine/runtime";
import type { ProcessSpec, ResourcesSpec, RuntimeSpec } from "#oci";

export const PROTOCOL_VERSION = 1;

export interface ProcessKey {
  readonly id: string;
  readonly execId?: string;
}

/** A descriptor of the supervisor, by number, with the inode that tells it from a later one of the same number. */
export interface DescriptorName {
  readonly descriptor: number;
  readonly inode: string;
}

/**
 * What keeps a process reachable. Each side holds a copy of the other's (pidfd_getfd), so whichever restarts
 * takes them back: exit codes, terminals, open stdin and unread output survive.
 */
export interface ProcessDescriptors {
  readonly pidfd: DescriptorName | null;
  readonly ptyMaster: DescriptorName | null;
  readonly stdin: DescriptorName | null;
  readonly stdout: DescriptorName | null;
  readonly stderr: DescriptorName | null;
}

export interface DescriptorOffer {
  readonly key: ProcessKey;
  readonly startTime: string;
  readonly descriptors: ProcessDescriptors;
}

export interface StdioRequest {
  /** Keep stdin open for attachers (`-i`). Otherwise stdin is /dev/null. */
  readonly openStdin: boolean;
  /** End of file for the process when the first attacher's stdin ends (`StdinOnce`). */
  readonly stdinOnce: boolean;
  readonly terminal: { readonly columns: number; readonly rows: number } | null;
}

export interface BirthMessage {
  readonly type: "birth";
  readonly id: string;
  /** "native", or the command of an OCI runtime: "crun", "/usr/bin/runc". */
  readonly runtime: string;
  readonly spec: RuntimeSpec;
  readonly root: RootFileSystem;
  readonly identity: Identity;
  readonly init: string | null;
  readonly stdio: StdioRequest;
  readonly network: NetworkAttachment;
  /** Absent: no resolver of ours inside. */
  readonly dns?: ContainerDns;
  readonly log: LogTarget;
  /** Mounts whose sources another process has opened, since they might not answer. */
  readonly trees?: LentTrees;
  /** It may meet a file system that does not answer: then `abandon` ends it. */
  readonly mayStall?: boolean;
  /** The folder of a checkpoint that it goes on from. */
  readonly images?: string;
}

/** Writes a container down. */
export interface CheckpointMessage {
  readonly type: "checkpoint";
  readonly id: string;
  /** An empty folder for it. */
  readonly images: string;
  /** A file that is locked as long as anybody writes there, whatever becomes of the supervisor. */
  readonly lock: string;
  readonly leaveRunning: boolean;
}

/**
 * A birth may come in a moment, and this is all of it but its network: a child builds the file tree and waits. Only the
 * last one is kept, for some seconds; `forget` takes it back. Only a hint, too.
 */
export interface AnnounceMessage extends Omit<
  BirthMessage,
  "type" | "network" | "dns" | "trees" | "images"
> {
  readonly type: "announce";
  /** What its only link will be like; null for none, or one that nobody can tell of yet. */
  readonly link: LinkKind | null;
}

/** The rest of a birth that was announced. "notFound" when this supervisor cannot go on with it: the whole is needed. */
export type AnnouncedBirth = Pick<BirthMessage, "type" | "id" | "network" | "dns"> & {
  readonly spec: null;
};

/** Descriptors of a process that keeps them until the birth is over. */
export interface LentTrees {
  readonly pid: number;
  readonly startTime: string;
  readonly trees: readonly {
    /** Which of the spec's mounts. */
    readonly mount: number;
    readonly descriptor: number;
    readonly directory: boolean;
  }[];
}

/**
 * A birth comes in a moment: what its id and limits say already may be made now, while the daemon prepares the rest.
 * Only a hint; a birth without it costs a millisecond more.
 */
export interface ExpectMessage {
  readonly type: "expect";
  readonly id: string;
  readonly runtime: string;
  readonly cgroupsPath: string;
  readonly resources: ResourcesSpec;
}

export interface ExecMessage {
  readonly type: "exec";
  readonly id: string;
  readonly execId: string;
  readonly process: ProcessSpec;
  readonly identity: Identity;
  readonly stdio: StdioRequest;
}

/** What the supervisor knows of a process that lives, or ended and was not forgotten yet. */
export interface ProcessReport {
  readonly key: ProcessKey;
  /** The host's number, with start time (clock ticks since boot) and boot id: together they name it for ever. */
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
  /** When execve succeeded, ISO 8601 with nanoseconds. */
  readonly startedAt: string;
  readonly exit: ExitReport | null;
  /** For the client, which takes copies; null once the process has ended. */
  readonly descriptors?: ProcessDescriptors | null;
}

export interface ExitReport {
  readonly key: ProcessKey;
  readonly pid: number;
  /** As Docker counts: 0-255, 128 + n for signal n. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly finishedAt: string;
  /** Set where the code could not be learnt: "exit code unknown". */
  readonly error: string | null;
}

/** The same as a birth, told and not done. */
export type ExplainMessage = Omit<BirthMessage, "type"> & { readonly type: "explain" };

/** Every request with its answer. A refused one answers `SupervisorFailure`. */
export interface Requests {
  expect: { request: ExpectMessage; answer: null };
  announce: { request: AnnounceMessage; answer: null };
  birth: { request: BirthMessage | AnnouncedBirth; answer: ProcessReport };
  exec: { request: ExecMessage; answer: ProcessReport };
  /** Answered when all is written; the end of a container that is not left running is announced as any. */
  checkpoint: { request: CheckpointMessage; answer: null };
  /** Ends a birth that may stall, or the writing of a checkpoint; what is over, or cannot stall, is none of its business. */
  abandon: { request: { type: "abandon"; id: string }; answer: null };
  /** The plan of system calls that a birth would run, one a line. Refused by runtimes that have none. */
  explain: { request: ExplainMessage; answer: { plan: string } };
  /** Sends a signal through the pidfd. */
  signal: { request: { type: "signal"; key: ProcessKey; signal: number }; answer: null };
  resize: {
    request: { type: "resize"; key: ProcessKey; columns: number; rows: number };
    answer: null;
  };
  /**
   * Wants no more of this attachment, whose end of input was said: the supervisor hangs up once it has seen that end. A
   * client that hung up itself could not be told from one that died.
   */
  leave: { request: { type: "leave"; attachment: string }; answer: null };
  /** Everything alive, and every exit not yet forgotten. */
  list: { request: { type: "list" }; answer: { processes: ProcessReport[] } };
  /** The daemon has stored the exit: its record may go. Also releases what the driver keeps, or was told to expect. */
  forget: { request: { type: "forget"; key: ProcessKey }; answer: null };
  /** Holds the host ports of a container (bind, no listen) and relays [::] where nftables cannot. All or none. */
  reservePorts: {
    request: {
      type: "reservePorts";
      id: string;
      /** hostPort 0, or a range with `hostPortEnd`, lets the supervisor choose. */
      ports: readonly (PortBinding & { readonly hostPortEnd?: number })[];
      /** Where relays connect to: the container's address. */
      target: string | null;
      /** Families whose ports are all relayed. */
      unruled?: readonly ("ipv4" | "ipv6")[];
    };
    answer: { ports: PortBinding[] };
  };
  releasePorts: { request: { type: "releasePorts"; id: string }; answer: null };
  /** Who holds ports: for start-up to compare with its records. */
  listPorts: {
    request: { type: "listPorts" };
    answer: { holders: { id: string; ports: PortBinding[] }[] };
  };
  /** Other networks, names or servers of a container that runs. */
  setDns: { request: { type: "setDns"; id: string; dns: ContainerDns }; answer: null };
  /** Removes the host link of a container that ended, by name. */
  removeLinks: {
    request: { type: "removeLinks"; endpoints: readonly BridgeEndpoint[] };
    answer: null;
  };
  /** The container is gone: what lies here goes once it is delivered. */
  dropLog: { request: { type: "dropLog"; folder: string }; answer: null };
  /**
   * Becomes `command` (same pid, same children); every connection ends and is made again. Answered before it
   * happens; refused while someone is attached or a birth is under way.
   */
  upgrade: { request: { type: "upgrade"; command: readonly string[] }; answer: null };
  /** Ends the supervisor when it has no process left; refused otherwise. */
  shutdown: { request: { type: "shutdown" }; answer: null };
}

export type RequestType = keyof Requests;

export type SupervisorEvent =
  | { readonly type: "exit"; readonly exit: ExitReport }
  | { readonly type: "oom"; readonly key: ProcessKey };

/** For the client only: a copy of stdin held on would keep the process from seeing the end of its input. */
export interface SupervisorNotice {
  readonly type: "stdinClosed";
  readonly key: ProcessKey;
}

export interface SupervisorFailure {
  readonly kind: "notFound" | "conflict" | "invalid" | "internal" | "birth";
  /** Docker's sentence. */
  readonly message: string;
  /** For "birth". */
  readonly failure?: BirthFailure;
}

export interface ControlHello {
  readonly hello: typeof PROTOCOL_VERSION;
  readonly channel: "control";
  /** The client's own process, whose descriptors the offers name. */
  readonly pid: number;
  readonly offers: readonly DescriptorOffer[];
}

export type Hello = ControlHello | AttachHello;

export type HelloAnswer =
  | { readonly hello: typeof PROTOCOL_VERSION; readonly pid: number }
  | { readonly error: SupervisorFailure };

export interface AttachHello {
  readonly hello: typeof PROTOCOL_VERSION;
  readonly channel: "attach";
  /** Names this connection to the client's others. */
  readonly attachment: string;
  readonly key: ProcessKey;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Wait for a birth that has not happened yet: attach before start, as `docker run` does. */
  readonly beforeBirth: boolean;
}

/** What the supervisor sends on a control channel after the hello. */
export type ControlFrame =
  | { readonly seq: number; readonly answer: unknown }
  | { readonly seq: number; readonly error: SupervisorFailure }
  | { readonly event: SupervisorEvent }
  | { readonly notice: SupervisorNotice };

/** What the daemon sends on a control channel after the hello. */
export interface RequestFrame {
  readonly seq: number;
  readonly request: { [Type in RequestType]: Requests[Type]["request"] }[RequestType];
}
