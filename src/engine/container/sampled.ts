/** A container as the sampler reads it. */
import type { SampledContainer } from "#engine/stats";

import type { Context } from "./context.ts";
import type { ContainerRecord } from "./records.ts";
import { cgroupOf } from "./signal.ts";

/** null while it does not run. */
export function sampledContainer(context: Context, id: string): SampledContainer | null {
  const record = context.records.get(id);
  if (record === undefined) return null;
  const { state } = record;
  if (state.status !== "running" && state.status !== "paused") return null;
  return {
    folders: cgroupOf(context, record).folders,
    pid: state.pid,
    network: networkOf(record),
  };
}

/** The host's own traffic is nobody's; a joined network is told of by each that is in it. */
function networkOf({ config, host }: ContainerRecord): SampledContainer["network"] {
  if (config.networkDisabled) return null;
  return host.networkMode.mode === "host" ? "none" : "own";
}
