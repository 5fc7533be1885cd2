/** What a container's process shall be, as far as its record tells, and the word about it to the supervisor. */
import type { RootFileSystem } from "#engine/runtime";
import type { BirthMessage } from "#engine/supervisor";
import type { RuntimeSpec } from "#oci";

import { type DeviceEdits, requestedEdits } from "./cdi.ts";
import type { Context } from "./context.ts";
import { logTargetFor } from "./log-files.ts";
import { composeSpec } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { snapshotOf } from "./storage.ts";

export interface Composed {
  readonly spec: RuntimeSpec;
  /** Supplementary groups, names or numbers. */
  readonly groups: readonly string[];
  /** Devices of the host's network that become the container's. */
  readonly netDevices: DeviceEdits["netDevices"];
}

export function compose(context: Context, record: ContainerRecord): Composed {
  const { host } = record;
  const edits = requestedEdits(host.deviceRequests, context.options.cdiFolders);
  return {
    spec: composeSpec(context, record, edits),
    groups: [...host.groupAdd, ...edits.groups.map(String)],
    netDevices: edits.netDevices,
  };
}

/** The supervisor begins with what the limits alone say, while this process prepares the rest. */
export function expectBirth(
  context: Context,
  record: ContainerRecord,
  { spec }: Pick<Composed, "spec">,
): void {
  const { cgroupsPath, resources } = spec.linux;
  const told = context.supervisor.request({
    type: "expect",
    id: record.id,
    runtime: runtimeOf(context, record),
    cgroupsPath,
    resources,
  });
  // Whatever is wrong, the birth meets it too, and says it.
  told.catch(() => undefined);
}

export function runtimeOf(
  { options }: Pick<Context, "options">,
  { host }: ContainerRecord,
): string {
  const runtime = host.runtime ?? options.defaultRuntime;
  return options.runtimes.get(runtime) ?? runtime;
}

/** The file tree it sees; what it writes goes into its snapshot, which is made where there is none. */
export function rootOf(context: Context, record: ContainerRecord): RootFileSystem {
  const lowers = context.snapshots.rootLowers(record.layers);
  const { upper, work } = snapshotOf(context, record);
  return { type: "overlay", lowers, upper, work };
}

/** Everything the supervisor needs to make the process, but its network. */
export function processMessage(
  context: Context,
  record: ContainerRecord,
  { root, spec, groups }: { readonly root: RootFileSystem } & Pick<Composed, "spec" | "groups">,
): Omit<BirthMessage, "type" | "network" | "dns" | "trees"> {
  const { config, host, id } = record;
  const [rows, columns] = host.consoleSize;
  return {
    id,
    runtime: runtimeOf(context, record),
    spec,
    root,
    identity: { user: config.user, groups },
    init: (host.init ?? context.options.init) ? context.options.initPath : null,
    stdio: {
      openStdin: config.openStdin,
      stdinOnce: config.stdinOnce,
      terminal: config.terminal ? { columns, rows } : null,
    },
    log: logTargetFor(context, record),
  };
}
