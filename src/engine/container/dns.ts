/** What the resolver inside a container of a user network is told: its own names, its networks, whom to ask next. */
import { statSync, writeFileSync } from "node:fs";

import type { ContainerDns, DnsNetwork, Endpoint } from "#engine/network";

import type { Context } from "./context.ts";
import { hostServers } from "./etc-files.ts";
import { etcPaths, resolvText } from "./prepare.ts";
import { readIfThere } from "./read-if-there.ts";
import type { ContainerRecord } from "./records.ts";
import { isActive } from "./wait.ts";

/** null where the host's own resolvers are used: the default bridge alone, no network, or another's. */
export function dnsOf(
  context: Context,
  record: ContainerRecord,
  endpoints: readonly Endpoint[],
): ContainerDns | null {
  const all = endpoints.map((endpoint) => ({
    endpoint,
    custom: context.network.resolve(endpoint.networkId).custom,
  }));
  const networks = all.flatMap(({ endpoint, custom }) =>
    custom === null ? [] : [networkOf(context, record, endpoint)],
  );
  if (networks.length === 0) return null;
  // Nobody in an internal network learns anything from outside, nor tells anything by asking.
  const asksOthers = all.some(({ custom }) => custom?.internal !== true);
  return { networks, servers: asksOthers ? serversOf(context, record) : [] };
}

function networkOf(
  { records }: Context,
  record: ContainerRecord,
  { networkId, networkName, link, dnsNames, request }: Endpoint,
): DnsNetwork {
  // The first of the names it was attached with is its own at that time.
  const names = [...new Set([record.name, ...dnsNames.slice(1)])];
  const { links: asked = [], networkMode } = record.host;
  const own = networkMode.mode === "network" && networkMode.name !== "bridge" ? asked : [];
  const pairs = [
    ...own.map(({ container, alias }) => [container, alias] as const),
    ...(request.links ?? []).map((text) => text.split(":", 2)),
  ];
  const links = pairs.map(([target = "", alias = target]): [string, string] => [
    alias.toLowerCase(),
    records.get(target)?.name ?? target,
  ]);
  return {
    id: networkId,
    name: networkName,
    names,
    addresses: [link.address, link.ipv6?.address ?? ""].filter((address) => address !== ""),
    links: Object.fromEntries(links),
  };
}

/** The supervisor asks from the host's network, so the host's loopback resolvers are as good as any. */
function serversOf({ options }: Context, { host }: ContainerRecord): readonly string[] {
  if (host.dns.length > 0) return host.dns;
  if (options.dns.length > 0) return options.dns;
  return hostServers(readIfThere(options.resolvConf ?? "/etc/resolv.conf"));
}

const RESOLV_LIMIT_BYTES = 65_536;
const NOBODY: ContainerDns = { networks: [], servers: [] };

/** After a change of names or networks: a running container's resolver, and those that look for it, are told. */
export async function refreshDns(context: Context, id: string): Promise<void> {
  const record = context.records.get(id);
  if (record === undefined || !isActive(record)) return;
  // Of one that left its last user network nobody is told any more.
  const dns = dnsOf(context, record, context.network.endpointsOf(id));
  // Nobody shall read of a resolver that is not there yet, or no longer.
  if (dns === null) rewriteResolv(context, record, null);
  await context.supervisor.request({ type: "setDns", id, dns: dns ?? NOBODY });
  if (dns !== null) rewriteResolv(context, record, dns);
}

/** As Docker: of a running container only when it is as the engine wrote it, and where it is, since it is mounted. */
function rewriteResolv(context: Context, record: ContainerRecord, dns: ContainerDns | null): void {
  const path = etcPaths(context, record).resolv;
  const text = resolvText(context, record, dns);
  // The container can write into it, without end.
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > RESOLV_LIMIT_BYTES) return;
  const current = readIfThere(path);
  if (current === text) return;
  const others = [null, { servers: [] }, { servers: serversOf(context, record) }];
  const isOurs = others.some((resolver) => resolvText(context, record, resolver) === current);
  if (isOurs) writeFileSync(path, text);
}
