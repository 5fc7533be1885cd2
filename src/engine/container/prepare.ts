/** What a start looks up and writes before the birth: files, devices, the spec. */
import { existsSync, mkdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { conflict, internal, invalid, sentenceOf } from "#base";
import type { ContainerDns, Endpoint } from "#engine/network";
import { readIdMaps } from "#engine/runtime";
import { ensureProfile } from "#linux/security";
import type { RuntimeSpec } from "#oci";

import { blockIoOf } from "./block-devices.ts";
import { type DeviceEdits, withEdits } from "./cdi.ts";
import type { Context } from "./context.ts";
import { hostDevices, requestedDevices } from "./devices.ts";
import { hostnameFile, hostsFile, isStubResolv, resolvFile } from "./etc-files.ts";
import { linkedContainers, linkEnvironment, linkHosts } from "./links.ts";
import { readIfThere } from "./read-if-there.ts";
import type { ContainerRecord } from "./records.ts";
import {
  apparmorProfileOf,
  DEFAULT_APPARMOR_PROFILE,
  parseSecurityOptions,
} from "./security-options.ts";
import { shareableMemory } from "./shared-memory.ts";
import { buildSpec, type Remap } from "./spec.ts";

/** systemd-resolved's list of the servers behind its stub. */
const UPSTREAM_RESOLV = "/run/systemd/resolve/resolv.conf";

export const containerFolder = (context: Pick<Context, "paths">, id: string): string =>
  join(context.paths.containers, id);

/** Where the engine's own files of a container lie; one that joins a network has those of its target. */
export function etcPaths(
  context: Pick<Context, "paths">,
  record: Pick<ContainerRecord, "id" | "host">,
): { hostname: string; hosts: string; resolv: string } {
  const { networkMode } = record.host;
  const own = containerFolder(context, record.id);
  const shared =
    networkMode.mode === "container" ? containerFolder(context, networkMode.container) : own;
  return {
    hostname: join(shared, "hostname"),
    hosts: join(shared, "hosts"),
    resolv: join(shared, "resolv.conf"),
  };
}

/** Writes the files of /etc that the engine keeps. Nothing is synced: they are written again at the next start. */
export function writeEtcFiles(
  context: Context,
  record: ContainerRecord,
  { endpoints, dns }: { endpoints: readonly Endpoint[]; dns: ContainerDns | null },
): void {
  const { config, host } = record;
  mkdirSync(containerFolder(context, record.id), { recursive: true, mode: 0o710 });
  if (host.networkMode.mode === "container") return;
  const paths = etcPaths(context, record);
  const inHost = host.networkMode.mode === "host";
  writeFileSync(paths.hostname, hostnameFile(config), { mode: 0o644 });
  writeFileSync(
    paths.hosts,
    hostsFile({
      hostname: config.hostname,
      domainname: config.domainname,
      addresses: endpoints
        .flatMap(({ link }) => [link.address, link.ipv6?.address ?? ""])
        .filter((address) => address !== ""),
      extraHosts: host.extraHosts,
      gateways: () => hostGateways(context),
      hostFile: inHost ? readIfThere("/etc/hosts") : null,
      linked: linkHosts(linkedContainers(context, record)),
    }),
    { mode: 0o644 },
  );
  writeFileSync(paths.resolv, resolvText(context, record, dns), { mode: 0o644 });
}

/** `host-gateway`: the default bridge's addresses, also for containers that are not in it. */
function hostGateways({ options, network }: Context): readonly string[] {
  if (options.hostGatewayIps.length > 0) return options.hostGatewayIps;
  const bridge = network.list().find(({ name }) => name === "bridge");
  const six = bridge?.predefined?.pools.find(({ family }) => family === "ipv6")?.gateway ?? null;
  const own = [bridge?.gateway ?? null, six].filter((address) => address !== null);
  if (own.length > 0) return own;
  throw internal("unable to derive the IP value for host-gateway");
}

/** What /etc/resolv.conf says with this resolver inside, or with none. */
export function resolvText(
  { options }: Context,
  { host }: ContainerRecord,
  resolver: Pick<ContainerDns, "servers"> | null,
): string {
  const inHost = host.networkMode.mode === "host";
  const choose = (own: readonly string[], common: readonly string[]) =>
    own.length > 0 ? own : common;
  return resolvFile({
    hostFile: readHostResolv(options.resolvConf, inHost),
    servers: choose(host.dns, options.dns),
    search: choose(host.dnsSearch, options.dnsSearch),
    options: choose(host.dnsOptions, options.dnsOptions),
    keepLoopback: inHost,
    resolver: resolver === null ? null : { servers: resolver.servers },
  });
}

function readHostResolv(chosen: string | null, inHost: boolean): string {
  if (chosen !== null) return readIfThere(chosen);
  const text = readIfThere("/etc/resolv.conf");
  return !inHost && isStubResolv(text) ? readIfThere(UPSTREAM_RESOLV) : text;
}

/** Somebody may have unloaded the engine's profile since the last start. */
function ensureApparmor({ facts }: Context, { host }: ContainerRecord): void {
  if (!facts.apparmor) return;
  const security = parseSecurityOptions(host.securityOptions);
  const profile = apparmorProfileOf(security, { privileged: host.privileged, enabled: true });
  if (profile === DEFAULT_APPARMOR_PROFILE) ensureProfile(profile);
}

/** The runtime spec of a container as it stands. Joined containers must run. */
export function composeSpec(
  context: Context,
  record: ContainerRecord,
  edits: DeviceEdits,
): RuntimeSpec {
  const { host } = record;
  const { blockDevices } = host.resources;
  const joined = joinedPids(context, record);
  const remap = remapOf(context, record, joined);
  const etc = etcPaths(context, record);
  ensureApparmor(context, record);
  const spec = buildSpec(record, {
    defaults: context.specDefaults,
    apparmorEnabled: context.facts.apparmor,
    cgroupsPath: cgroupsPathOf(context, record),
    files: {
      "/etc/resolv.conf": etc.resolv,
      "/etc/hostname": etc.hostname,
      "/etc/hosts": etc.hosts,
    },
    lowers: (layers) => context.snapshots.lowers(layers),
    volumePath: (name) => context.volumes.path(name),
    devices: host.privileged
      ? [...hostDevices(), ...requestedDevices(host.devices)]
      : requestedDevices(host.devices),
    joined,
    sharedMemory: shareableMemory(context, record),
    ...(blockDevices === undefined ? {} : { blockIo: blockIoOf(blockDevices) }),
    environment: linkEnvironment(linkedContainers(context, record), record.name),
    ...(remap === null ? {} : { remap }),
  });
  return withEdits(spec, edits);
}

/** `<parent>/<id>`, below every hierarchy's mount. */
export function cgroupsPathOf(
  { options }: Pick<Context, "options">,
  { id, host }: Pick<ContainerRecord, "id" | "host">,
): string {
  const parent = host.cgroupParent === "" ? options.cgroupParent : host.cgroupParent;
  return `${parent.startsWith("/") ? "" : "/"}${parent.replace(/\/+$/, "")}/${id}`;
}

type Joined = { -readonly [Type in "pid" | "ipc" | "network"]?: number };

function joinedPids(context: Context, { id, host }: ContainerRecord): Joined {
  const joined: Joined = {};
  if (host.pidMode.mode === "container") {
    joined.pid = runningPid(context, host.pidMode.container, "PID");
  }
  if (host.ipcMode.mode === "container") {
    joined.ipc = runningPid(context, host.ipcMode.container, "IPC");
  }
  if (host.networkMode.mode === "container") {
    joined.network = networkPid(context, host.networkMode.container, id);
  }
  return joined;
}

/**
 * The container's ids, where they are not the host's. Whoever shares a namespace shares the user namespace it
 * belongs to: nobody has power over one from another's.
 */
function remapOf(context: Context, { host }: ContainerRecord, joined: Joined): Remap | null {
  const { userRemap } = context.options;
  if (userRemap === null || host.usernsMode === "host") return null;
  const [first, ...others] = Object.values(joined);
  const hostQueues = host.ipcMode.mode === "host" && existsSync("/dev/mqueue");
  if (first === undefined) return { ...userRemap, joined: null, hostQueues };
  const namespaceOf = (pid: number): string => readlinkSync(`/proc/${pid}/ns/user`);
  if (others.some((pid) => namespaceOf(pid) !== namespaceOf(first))) {
    throw conflict(
      "cannot join namespaces of containers that have different user namespaces: use --userns=host",
    );
  }
  const maps = readIdMaps(first);
  if (maps === null) {
    throw conflict(
      "cannot join a namespace of a container that has the host's user namespace: use --userns=host",
    );
  }
  return { ...maps, joined: first, hostQueues };
}

/** @throws EngineError "invalid" or "conflict" in Docker's words when it is not there or does not run */
function runningPid(context: Context, nameOrId: string, what: "PID" | "IPC"): number {
  const failed = `failed to join ${what} namespace:`;
  const target = (() => {
    try {
      return context.records.resolve(nameOrId);
    } catch (cause) {
      throw invalid(`${failed} ${sentenceOf(cause)}`, { cause });
    }
  })();
  const { state, id } = target;
  if (state.status === "running" || state.status === "paused") return state.pid;
  throw conflict(
    state.status === "restarting"
      ? `${failed} Container ${id} is restarting, wait until the container is running`
      : `${failed} container ${id} is not running`,
  );
}

/** @throws EngineError "invalid" in Docker's words: "not found" would be the container that is started */
function networkOwner({ records }: Context, nameOrId: string): ContainerRecord {
  try {
    return records.resolve(nameOrId);
  } catch (cause) {
    throw invalid(`joining network namespace of container: ${sentenceOf(cause)}`, { cause });
  }
}

function networkPid(context: Context, nameOrId: string, ownId: string): number {
  const { id, name, state } = networkOwner(context, nameOrId);
  if (id === ownId) throw invalid("cannot join own network namespace");
  if (state.status === "running" || state.status === "paused") return state.pid;
  throw conflict(
    state.status === "restarting"
      ? `cannot join network namespace of container: Container ${id} is restarting, wait until the container is running`
      : `cannot join network namespace of a non running container: container ${name} is ${state.status}`,
  );
}
