/** `naru run --explain`: what a start would do, without doing it. */
import { conflict } from "#base";

import { compose, processMessage, rootOf } from "./compose.ts";
import type { Context } from "./context.ts";
import { dnsOf } from "./dns.ts";
import { writeEtcFiles } from "./prepare.ts";
import { prepareMounts } from "./sources.ts";
import { isActive } from "./wait.ts";

/** The plan of system calls, one a line. No address is taken, no port opened, nothing is born. */
export async function explainStart(context: Context, nameOrId: string): Promise<string> {
  const record = context.records.resolve(nameOrId);
  const { id, layers, host } = record;
  // Its overlay is mounted already, and must not be a second time.
  if (isActive(record))
    throw conflict(`container ${id} is running: a plan is told before the start`);
  const lowers = context.snapshots.rootLowers(layers);
  const root = rootOf(context, record);
  const endpoints = context.network.endpointsOf(id);
  writeEtcFiles(context, record, { endpoints, dns: dnsOf(context, record, endpoints) });
  const composed = compose(context, record);
  using opened = await prepareMounts(context, record, { spec: composed.spec, lowers });
  const shared = host.networkMode.mode === "host" || host.networkMode.mode === "container";
  const message = processMessage(context, record, { root, ...composed });
  const { plan } = await context.supervisor.request({
    ...message,
    network: { mode: shared ? "shared" : "none" },
    ...(opened === null ? {} : { trees: opened.trees }),
    type: "explain",
  });
  return plan;
}
