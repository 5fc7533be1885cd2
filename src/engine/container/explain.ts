/** `naru run --explain`: what a start would do, without doing it. */
import { conflict } from "#base";

import type { Context } from "./context.ts";
import { dnsOf } from "./dns.ts";
import { writeEtcFiles } from "./prepare.ts";
import { prepareMounts } from "./sources.ts";
import { birthMessage, compose } from "./start.ts";
import { isActive } from "./wait.ts";
import { snapshotOf } from "./storage.ts";

/** The plan of system calls, one a line. No address is taken, no port opened, nothing is born. */
export async function explainStart(context: Context, nameOrId: string): Promise<string> {
  const record = context.records.resolve(nameOrId);
  const { id, layers, host } = record;
  // Its overlay is mounted already, and must not be a second time.
  if (isActive(record))
    throw conflict(`container ${id} is running: a plan is told before the start`);
  const lowers = context.snapshots.rootLowers(layers);
  const snapshot = snapshotOf(context, record);
  const endpoints = context.network.endpointsOf(id);
  writeEtcFiles(context, record, { endpoints, dns: dnsOf(context, record, endpoints) });
  const composed = compose(context, record);
  using opened = await prepareMounts(context, record, { spec: composed.spec, lowers });
  const shared = host.networkMode.mode === "host" || host.networkMode.mode === "container";
  const message = birthMessage(context, record, {
    root: { type: "overlay", lowers, upper: snapshot.upper, work: snapshot.work },
    attachment: { mode: shared ? "shared" : "none" },
    ...composed,
  });
  const { plan } = await context.supervisor.request({
    ...message,
    ...(opened === null ? {} : { trees: opened.trees }),
    type: "explain",
  });
  return plan;
}
