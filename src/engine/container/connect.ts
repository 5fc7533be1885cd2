/** `network connect` and `network disconnect`: of a container that runs at once, of another one at its next start. */
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs";

import { conflict, forbidden, internal, invalid } from "#base";
import type { Endpoint, EndpointRequest, PortBinding } from "#engine/network";

import { withLimits } from "./bandwidth.ts";
import { type Context, liveOf } from "./context.ts";
import { refreshDns } from "./dns.ts";
import { publishNetworkEvent } from "./happenings.ts";
import { followLinked, HOSTS_LIMIT_BYTES } from "./linked-hosts.ts";
import { etcPaths } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { networksOf, portsOf } from "./wishes.ts";

/** @throws EngineError in Docker's words */
export function connectContainer(
  context: Context,
  nameOrId: string,
  request: EndpointRequest,
): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  return liveOf(context, id).queue.run(async () => {
    const record = context.records.must(id);
    const network = context.network.check(withLimits(record, request));
    checkChangeable(context, record);
    checkJoinable(record, network.driver);
    const endpoint: EndpointRequest = { ...request, network: network.name };
    const before = networksOf(record);
    const isKnown = before.some((one) => isSame(context, one, network.id));
    const networks = isKnown ? before : [...before, endpoint];
    const pid = pidOf(record);
    if (pid === null) {
      context.records.update(id, { networks });
      return;
    }
    const connected = await context.network.connect({
      owner: ownerOf(record),
      pid,
      endpoint: withLimits(record, endpoint),
      ports: portsOf(record),
      record: () => void context.records.update(id, { networks }),
      unrecord: () => void context.records.update(id, { networks: before }),
    });
    savePorts(context, id, connected.ports);
    addHost(context, record, connected.endpoint);
    followLinked(context, id);
    await refreshDns(context, id);
    publishNetworkEvent(context, connected.endpoint, "connect");
  });
}

/** @param request.force also from a network that is gone. @throws EngineError in Docker's words */
export function disconnectContainer(
  context: Context,
  nameOrId: string,
  { network: name, force }: { network: string; force: boolean },
): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  return liveOf(context, id).queue.run(async () => {
    const record = context.records.must(id);
    checkChangeable(context, record);
    const network = networkOrNull(context, name, force);
    if (record.host.networkMode.mode === "host" && network?.driver === "host") {
      throw invalid(
        "cannot disconnect container from host network - container was created in host network mode",
      );
    }
    const before = networksOf(record);
    const networks = before.filter((one) =>
      network === null ? one.network !== name : !isSame(context, one, network.id),
    );
    const isNone = record.host.networkMode.mode === "none" && network?.name === "none";
    const pid = pidOf(record);
    if (networks.length === before.length && !(isNone && record.networks === undefined)) {
      const of = pid === null ? "the network" : "network";
      throw internal(`container ${id} is not connected to ${of} ${network?.name ?? name}`);
    }
    if (pid === null || isNone || network === null) {
      context.records.update(id, { networks });
      return;
    }
    const { endpoint, ports } = await context.network.disconnect({
      owner: ownerOf(record),
      pid,
      networkId: network.id,
      ports: portsOf(record),
      record: () => void context.records.update(id, { networks }),
    });
    savePorts(context, id, ports);
    removeHost(context, record, endpoint);
    await refreshDns(context, id);
    publishNetworkEvent(context, endpoint, "disconnect");
  });
}

function checkChangeable(context: Context, { id, state }: ContainerRecord): void {
  if (state.status !== "removing" && !liveOf(context, id).removing) return;
  throw conflict(
    `Container ${id} is marked for removal and cannot be connected or disconnected to the network`,
  );
}

/** @throws EngineError "invalid", "forbidden" */
function checkJoinable({ host, networks }: ContainerRecord, driver: string): void {
  const { mode } = host.networkMode;
  if (driver === "host" && mode !== "host") {
    throw invalid(
      "cannot connect container to host network - container must be created in host network mode",
    );
  }
  if (mode === "host" || mode === "container") {
    throw forbidden(
      "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  }
  if (driver === "null" || (mode === "none" && networks === undefined)) {
    throw forbidden(
      "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
  }
}

function isSame({ network }: Context, one: EndpointRequest, networkId: string): boolean {
  try {
    return network.resolve(one.network).id === networkId;
  } catch {
    return false; // It was removed while nobody of it ran.
  }
}

function networkOrNull(context: Context, name: string, force: boolean) {
  try {
    return context.network.resolve(name);
  } catch (thrown) {
    if (!force) throw thrown;
    return null;
  }
}

const ownerOf = ({ id, name, config }: ContainerRecord) => ({
  containerId: id,
  containerName: name,
  hostname: config.hostname,
});

const pidOf = ({ state }: ContainerRecord): number | null =>
  state.status === "running" || state.status === "paused" ? state.pid : null;

function savePorts(context: Context, id: string, ports: readonly PortBinding[]): void {
  const { ports: before } = context.records.must(id);
  if (JSON.stringify(before) !== JSON.stringify(ports)) context.records.update(id, { ports });
}

/** The file is mounted in the container: it is changed where it is, and what was added inside stays. */
function addHost(context: Context, record: ContainerRecord, { link }: Endpoint): void {
  const { hostname, domainname } = record.config;
  const names = domainname === "" ? hostname : `${hostname}.${domainname} ${hostname}`;
  const lines = addressesOf(link).map((address) => `${address}\t${names}\n`);
  appendFileSync(etcPaths(context, record).hosts, lines.join(""));
}

function removeHost(context: Context, record: ContainerRecord, { link }: Endpoint): void {
  const path = etcPaths(context, record).hosts;
  const own = addressesOf(link).map((address) => `${address}\t`);
  // The container can write into it, without end.
  if (statSync(path).size > HOSTS_LIMIT_BYTES) return;
  const lines = readFileSync(path, "utf8").split("\n");
  const kept = lines.filter((line) => !own.some((start) => line.startsWith(start)));
  writeFileSync(path, kept.join("\n"));
}

const addressesOf = ({ address, ipv6 }: Endpoint["link"]): string[] =>
  [address, ipv6?.address ?? ""].filter((one) => one !== "");
