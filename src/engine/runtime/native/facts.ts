/** What plans are compiled from besides the spec: this host's abilities, and descriptors that the supervisor opened. */
import { existsSync } from "node:fs";

import type { CgroupHost } from "#linux/cgroup";
import { parseResourceName, readResourceLimit, type ResourceName } from "#linux/process";
import { capabilityMask, lastCapability, readCapabilityMasks } from "#linux/security";
import type { NamespaceType } from "#oci";

import type { Passage } from "../passage.ts";

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

/** How a process' streams come, without their numbers. */
export type StdioShape =
  | {
      readonly type: "pipes";
      /** Which of 0, 1, 2 are given to the process' user. */
      readonly chown: readonly number[];
    }
  | { readonly type: "terminal"; readonly columns: number; readonly rows: number };

/**
 * What a plan must know of the descriptors that the supervisor opened. Their numbers come by slots: "root" (the
 * detached root mount), "go" and "goWriter" (the barrier's two ends), "task<n>", "bind<index>",
 * "join.<type>", "init", "stdin", "stdout", "stderr", "pidfd". Every one is close-on-exec.
 */
export interface JoinShape {
  /** How many v1 `tasks` files. */
  readonly tasks: number;
  readonly stdio: StdioShape;
}

export interface BirthShape extends JoinShape {
  readonly namespaces: readonly NamespaceType[];
  /** Sources of bind mounts that are open, by index in `spec.mounts`, and whether each is a directory. */
  readonly binds: ReadonlyMap<number, boolean>;
  /** Its /dev is somebody's own folder: it is taken as it is, and nothing is made in it that was not asked for. */
  readonly foreignDev?: true;
  /** Where in the container the init program is mounted; null when pid 1 is the program itself. */
  readonly init: string | null;
  /** How many descriptors a child keeps that may wait long, slots "gap<n>", "gapEnd<n>"; absent: all it was born with. */
  readonly kept?: number;
  /**
   * The container's root lies in the host's tree until it becomes /, and hooks run meanwhile; slots "host", "rootfs", and
   * with a passage "bundle".
   */
  readonly hooked?: { readonly passage: Passage | null };
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
