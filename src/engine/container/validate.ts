/** Options that make no sense, or that this engine cannot honour, refused at create in Docker's words. Pure. */
import { invalid } from "#base";
import { checkLogOptions } from "#engine/log-delivery";
import type { IdMapping } from "#oci";

import type { ContainerConfig, CreateRequest, HostConfig } from "./config.ts";
import type { HostFacts } from "./host-facts.ts";
import { parseSecurityOptions } from "./security-options.ts";

/** What the engine was started with, as far as a request is checked against it. */
export interface EngineOptions {
  readonly defaultRuntime: string;
  /** Name to command: `native` is built in, others are OCI runtimes. */
  readonly runtimes: ReadonlyMap<string, string>;
  readonly defaultLog: HostConfig["log"];
  readonly defaultShmSizeBytes: number;
  /** `--init` of the daemon: the default of containers that do not say. */
  readonly init: boolean;
  /** The host path of a static init program; null: none was found. */
  readonly initPath: string | null;
  readonly cgroupParent: string;
  readonly defaultUlimits: HostConfig["ulimits"];
  /** Of containers that do not say. */
  readonly noNewPrivileges: boolean;
  readonly seccompUnconfined: boolean;
  /** What `host-gateway` of extra hosts stands for; empty: the default bridge's address. */
  readonly hostGatewayIps: readonly string[];
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** What is read of the host's resolver; null: what its own programs read. */
  readonly resolvConf: string | null;
  /** Where vendors describe their devices; a later folder goes before an earlier one. */
  readonly cdiFolders: readonly string[];
  /** Null: containers have the host's ids. */
  readonly userRemap: UserRemap | null;
}

/** What ids of containers are on the host, in containers that do not ask for the host's. */
export interface UserRemap {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

const RLIMITS = new Set(
  "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(
    " ",
  ),
);

/** @throws EngineError "invalid" or "conflict" */
export function checkHostConfig(
  { config, host }: CreateRequest,
  options: EngineOptions,
  facts: Pick<HostFacts, "capabilities">,
): void {
  if (host.autoRemove && host.restartPolicy.name !== "no") {
    throw invalid("can't create 'AutoRemove' container with restart policy");
  }
  const runtime = host.runtime ?? options.defaultRuntime;
  if (!options.runtimes.has(runtime)) throw invalid(`unknown or invalid runtime name: ${runtime}`);
  if (host.oomScoreAdjust < -1000 || host.oomScoreAdjust > 1000) {
    throw invalid(`Invalid value ${host.oomScoreAdjust}, range for oom score adj is [-1000, 1000]`);
  }
  if ((host.shmSizeBytes ?? 0) < 0) throw invalid("SHM size can not be less than 0");
  if ((host.init ?? options.init) && options.initPath === null) {
    throw invalid(
      "the init program was not found on this host: install tini, or name one with --init-path",
    );
  }
  if (config.stopTimeoutSeconds !== null && config.stopTimeoutSeconds < -1) {
    throw invalid("invalid stop timeout: must be -1 or larger");
  }
  const isRemapped = options.userRemap !== null && host.usernsMode !== "host";
  if (isRemapped) checkRemapped(host);
  checkCapabilities(host, facts.capabilities);
  checkUlimits(host.ulimits);
  checkSysctls(host, isRemapped);
  checkExtraHosts(host.extraHosts);
  checkModes(config, host);
  checkAnnotations(host);
  checkDevices(host);
  parseSecurityOptions(host.securityOptions);
  checkLogOptions(host.log);
}

function checkRemapped({ privileged, networkMode, pidMode }: HostConfig): void {
  if (privileged) {
    throw invalid(
      "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
    );
  }
  if (networkMode.mode === "host") {
    throw invalid("cannot share the host's network namespace when user namespaces are enabled");
  }
  if (pidMode.mode === "host") {
    throw invalid("cannot share the host PID namespace when user namespaces are enabled");
  }
}

/** `NET_ADMIN`, `cap_net_admin` or `ALL`, as `CAP_NET_ADMIN` or `ALL`. */
export function normalizeCapability(name: string): string {
  const upper = name.trim().toUpperCase();
  return upper === "ALL" || upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
}

function checkCapabilities(host: HostConfig, known: readonly string[]): void {
  const fields = [
    ["CapAdd", host.capAdd],
    ["CapDrop", host.capDrop],
  ] as const;
  for (const [field, names] of fields) {
    for (const name of names.map(normalizeCapability)) {
      if (name !== "ALL" && !known.includes(name)) {
        throw invalid(`invalid ${field}: unknown capability: "${name}"`);
      }
    }
  }
}

function checkUlimits(ulimits: HostConfig["ulimits"]): void {
  for (const { name, soft, hard } of ulimits) {
    if (!RLIMITS.has(name)) throw invalid(`invalid ulimit type: ${name}`);
    if (hard !== -1 && (soft > hard || soft === -1)) {
      throw invalid(
        `ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`,
      );
    }
  }
}

const IPC_SYSCTLS = new Set(
  "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced"
    .split(" ")
    .map((key) => `kernel.${key}`),
);

/** Only what belongs to a namespace the container has to itself: anything else would change the host. */
function checkSysctls(host: HostConfig, isRemapped: boolean): void {
  for (const key of Object.keys(host.sysctls)) {
    const refusal = refusalOfSysctl(key.replaceAll("/", "."), host, isRemapped);
    if (refusal !== null) throw invalid(refusal);
  }
}

/** null: it is the container's own. In runc's words. */
function refusalOfSysctl(
  name: string,
  { networkMode, ipcMode, utsMode }: HostConfig,
  isRemapped: boolean,
): string | null {
  const foreign = `sysctl "${name}" is not in a separate kernel namespace`;
  if (!/^[a-z0-9_][a-zA-Z0-9_.*:-]*$/.test(name) || name.includes("..")) return foreign;
  if (IPC_SYSCTLS.has(name) || name.startsWith("fs.mqueue.")) {
    const isHosts = ipcMode.mode === "host";
    return isHosts ? `sysctl "${name}" is not allowed in the hosts ipc namespace` : null;
  }
  if (name.startsWith("net.")) {
    const isHosts = networkMode.mode === "host";
    return isHosts ? `sysctl "${name}" not allowed in host network namespace` : null;
  }
  if (name === "kernel.domainname" && utsMode.mode !== "host") return null;
  if (name === "kernel.hostname" && utsMode.mode !== "host") {
    return `sysctl "${name}" is not allowed as it conflicts with the OCI "hostname" field`;
  }
  if (!name.startsWith("user.")) return foreign;
  return isRemapped ? null : `setting ucounts without a user namespace not allowed: ${name}`;
}

function checkExtraHosts(extraHosts: readonly string[]): void {
  for (const entry of extraHosts) {
    const match = /^([^:=]+)[:=](.+)$/.exec(entry);
    if (match === null) throw invalid(`bad format for add-host: "${entry}"`);
    const address = (match[2] ?? "").replace(/^\[|\]$/g, "");
    if (address !== "host-gateway" && !/^[0-9a-fA-F:.%]+$/.test(address)) {
      throw invalid(`invalid IP address in add-host: "${match[2]}"`);
    }
  }
}

function checkModes({ hostname, exposedPorts }: ContainerConfig, host: HostConfig): void {
  if (hostname !== "" && host.utsMode.mode === "host") {
    throw invalid("conflicting options: hostname and the UTS mode");
  }
  if (hostname !== "" && host.networkMode.mode === "container") {
    throw invalid("conflicting options: hostname and the network mode");
  }
  if (host.networkMode.mode === "container") checkJoinedNetwork(exposedPorts, host);
  if (host.utsMode.mode === "container") {
    throw invalid(`invalid UTS mode: container:${host.utsMode.container}`);
  }
}

/** What belongs to the network is the other container's. */
function checkJoinedNetwork(exposedPorts: readonly string[], host: HostConfig): void {
  const refused = (what: string) => invalid(`conflicting options: ${what}`);
  if (host.dns.length > 0) throw refused("dns and the network mode");
  if (host.extraHosts.length > 0) {
    throw refused("custom host-to-IP mapping and the network mode");
  }
  if (host.ports.length > 0 || host.publishAllPorts) {
    throw refused("port publishing and the container type network mode");
  }
  if (exposedPorts.length > 0) {
    throw refused("port exposing and the container type network mode");
  }
}

function checkAnnotations({ annotations }: HostConfig): void {
  if (Object.hasOwn(annotations, "")) {
    throw invalid("invalid Annotations: the empty string is not permitted as an annotation key");
  }
}

function checkDevices(host: HostConfig): void {
  for (const { permissions } of host.devices) {
    if (!/^[rwm]{1,3}$/.test(permissions)) throw invalid(`invalid device mode: ${permissions}`);
  }
  for (const rule of host.deviceCgroupRules) {
    if (!DEVICE_RULE.test(rule)) throw invalid(`invalid device cgroup rule format: '${rule}'`);
  }
}

/** `c 1:3 rwm`, `a *:* rwm`. */
export const DEVICE_RULE = /^([acb]) (\d{1,9}|\*):(\d{1,9}|\*) ([rwm]{1,3})$/;
