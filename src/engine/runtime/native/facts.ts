/** What plans are compiled from besides the spec: this host's abilities, and descriptors that the supervisor opened. */
import { existsSync } from "node:fs";

import type { CgroupHost } from "#linux/cgroup";
import { parseResourceName, readResourceLimit, type ResourceName } from "#linux/process";
import { capabilityMask, lastCapability, readCapabilityMasks } from "#linux/security";
import type { NamespaceType } from "#oci";

/** Facts that hold as long as the supervisor lives. */
export interface HostFacts {
  /** What the engine may give away, as a mask. */
  readonly capabilities: bigint;
  readonly lastCapability: number;
  /** The engine's own hard limits: the highest a container gets without CAP_SYS_RESOURCE. */
  readonly hardLimits: ReadonlyMap<ResourceName, bigint>;
  readonly canRaiseLimits: boolean;
  /** Whether /dev/core points anywhere. */
  readonly kcore: boolean;
  /** In the order of the nursery's `/cgroup/<index>` folders. */
  readonly hierarchies: readonly {
    readonly version: 1 | 2;
    readonly name: string;
    readonly controllers: readonly string[];
  }[];
  /** Device number of the nursery's empty read-only directory: `major << 32 | minor` as statx lays it out. */
  readonly emptyDevice: bigint;
}

const LIMITS = [
  "AS",
  "CORE",
  "CPU",
  "DATA",
  "FSIZE",
  "LOCKS",
  "MEMLOCK",
  "MSGQUEUE",
  "NICE",
  "NOFILE",
];
const MORE_LIMITS = ["NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"];

/** Reads the facts of this host. */
export function readHostFacts(cgroups: CgroupHost, emptyDevice: bigint): HostFacts {
  const { permitted, bounding } = readCapabilityMasks();
  const capabilities = permitted & bounding;
  const hardLimits = new Map<ResourceName, bigint>();
  for (const text of [...LIMITS, ...MORE_LIMITS]) {
    const name = parseResourceName(text);
    if (name !== null) hardLimits.set(name, readResourceLimit(0, name).hard);
  }
  return {
    capabilities,
    lastCapability: lastCapability(),
    hardLimits,
    canRaiseLimits: (capabilities & capabilityMask(["CAP_SYS_RESOURCE"])) !== 0n,
    kcore: existsSync("/proc/kcore"),
    hierarchies: cgroups.hierarchies.map(({ version, name, controllers }) => ({
      version,
      name,
      controllers,
    })),
    emptyDevice,
  };
}

/** A detached copy of a host tree, opened for one birth. */
export interface BorrowedTree {
  readonly descriptor: number;
  readonly directory: boolean;
}

export interface JoinedNamespace {
  readonly type: NamespaceType;
  readonly descriptor: number;
}

export type BorrowedStdio =
  | {
      readonly type: "pipes";
      readonly stdin: number;
      readonly stdout: number;
      readonly stderr: number;
      /** Which of 0, 1, 2 are given to the process' user. */
      readonly chown: readonly number[];
    }
  | { readonly type: "terminal"; readonly columns: number; readonly rows: number };

/** Descriptors of the supervisor that a child inherits and uses; every one is close-on-exec. */
export interface BorrowedJoin {
  /** v1 `tasks` files. */
  readonly tasks: readonly number[];
  readonly stdio: BorrowedStdio;
  /** One byte comes here when the parent has done its part. */
  readonly go: number;
  /** The other end, which the child must not keep open. */
  readonly goWriter: number;
}

export interface BorrowedBirth extends BorrowedJoin {
  /** The detached root mount. */
  readonly root: number;
  /** The nursery's mount namespace. */
  readonly nursery: number;
  readonly namespaces: readonly JoinedNamespace[];
  /** Sources of bind mounts, by index in `spec.mounts`. */
  readonly binds: ReadonlyMap<number, BorrowedTree>;
  /** The init program's file. */
  readonly init: BorrowedTree | null;
}

export const namespaceFlags = {
  time: 0x80,
  mount: 0x2_0000,
  cgroup: 0x200_0000,
  uts: 0x400_0000,
  ipc: 0x800_0000,
  user: 0x1000_0000,
  pid: 0x2000_0000,
  network: 0x4000_0000,
} as const satisfies Record<NamespaceType, number>;
