/**
 * `docker create`: everything is decided and checked, and one transaction writes it down. Nothing else is touched:
 * files, mounts and networks come with the start (announce.ts makes some of it ready once the answer is out).
 */
import { statSync } from "node:fs";

import { invalid, kindOf, newId, sentenceOf, shortId, wrap } from "#base";
import { checkHealth } from "#engine/health";
import type { EndpointRequest } from "#engine/network";
import type { VolumeChange } from "#engine/volume";
import { formatPlatform, hostPlatform, type ImageConfig, parsePlatform, platformRank } from "#oci";

import { announceSoon } from "./announce.ts";
import { checkLimits } from "./bandwidth.ts";
import type { ContainerConfig, CreateRequest, HostConfig, NamespaceMode } from "./config.ts";
import type { Context } from "./context.ts";
import { publishEvent } from "./happenings.ts";
import { resolveLinks } from "./links.ts";
import { mergeImageConfig, programOf } from "./merge.ts";
import { type ImageLookup, resolveMounts, type ResolvedMount } from "./mounts.ts";
import { mayStall } from "./sources.ts";
import { volumesFrom, volumesOf } from "./volumes.ts";
import { inventName, parseContainerName } from "./names.ts";
import { checkPlaces } from "./places.ts";
import type { ContainerRecord } from "./records.ts";
import { checkResources } from "./resources.ts";
import { parseSecurityOptions } from "./security-options.ts";
import { checkStopSignal } from "./stop-signal.ts";
import { checkStorage } from "./storage.ts";
import { nowText } from "./times.ts";
import { checkHostConfig } from "./validate.ts";

/** @throws EngineError in Docker's words */
export function createContainer(
  context: Context,
  request: CreateRequest,
): { id: string; warnings: string[] } {
  const { records, options, facts } = context;
  const name = chooseName(context, request.name);
  const host = withDefaults(context, request.host);
  checkHostConfig({ ...request, host }, options, facts);
  checkLimits(request);
  checkStorage(context, host);
  const { resources, warnings } = checkResources(host.resources, facts);
  warnings.push(...networkWarnings(host, facts.ipv4Forwarding));
  if (request.config.healthcheck) checkHealth(request.config.healthcheck);
  const { platform } = request;
  const image = context.images.resolve(
    request.config.image,
    platform === null || platform === "" ? null : parsePlatform(platform),
  );
  if (!platform) warnings.push(...platformWarnings(image.config));
  checkShared(context, host);
  const id = newId();
  const merged = mergeImageConfig(request.config, image.config.config ?? {});
  if (merged.stopSignal) checkStopSignal(merged.stopSignal);
  const config: ContainerConfig = {
    ...merged,
    ...hostnameOf(context, { config: merged, host, id }),
  };
  const mounts = resolveMounts(host.mounts, config.volumes, {
    newName: newId,
    imageOf: (source) => mountedImage(context, source),
    inherited: volumesFrom(context, host.volumesFrom ?? []),
  });
  checkSources(context, mounts);
  checkAddresses(context, request.networks ?? []);
  const record: ContainerRecord = {
    id,
    name,
    createdAt: nowText(context.clock.now()),
    imageId: image.id,
    config,
    host: { ...host, resources },
    ...programOf(config),
    layers: image.config.rootfs.diff_ids,
    mounts,
    state: { status: "created" },
    process: null,
    manuallyStopped: false,
    restartCount: 0,
    ports: [],
    ...(request.networks === undefined ? {} : { networks: request.networks }),
  };
  checkPlaces(context, record, image.config.config?.WorkingDir ?? "");
  // From the image's resolution to here nothing waited, so nobody can have removed the image meanwhile.
  const tell = () => publishEvent(context, record, "create");
  records.insert(record, planVolumes(context, record), tell);
  announceSoon(context, record);
  return { id, warnings };
}

/** Of networks that are there; others may be made before the start. @throws EngineError "invalid" in Docker's words */
function checkAddresses(
  { network }: Pick<Context, "network">,
  requests: readonly EndpointRequest[],
): void {
  for (const request of requests) {
    if (request.ipv4 === undefined && request.ipv6 === undefined) continue;
    try {
      network.check(request);
    } catch (cause) {
      if (kindOf(cause) === "notFound") continue;
      throw wrap(`invalid config for network ${request.network}`, cause);
    }
  }
}

const HOST = hostPlatform();

/** Docker's line for an image of another machine that nobody asked for. */
function platformWarnings(config: ImageConfig): string[] {
  const isHosts = config.architecture === HOST.architecture && config.os === HOST.os;
  if (isHosts || platformRank(HOST, config) !== null) return [];
  return [
    `The requested image's platform (${formatPlatform(config)}) does not match the detected host platform (${formatPlatform(HOST)}) and no specific platform was requested`,
  ];
}

/** @throws EngineError "invalid": a client takes "not found" of a create for the container's image, and pulls that. */
function mountedImage({ images }: Context, source: string): ReturnType<ImageLookup> {
  try {
    const { id, config } = images.resolve(source);
    return { imageId: id, layers: config.rootfs.diff_ids };
  } catch (cause) {
    throw kindOf(cause) === "notFound" ? invalid(sentenceOf(cause), { cause }) : cause;
  }
}

function chooseName({ records }: Context, asked: string): string {
  if (asked !== "") return parseContainerName(asked);
  return inventName((name) => records.ownerOfName(name) !== undefined);
}

function planVolumes({ volumes }: Context, record: ContainerRecord): VolumeChange {
  try {
    return volumes.planCreation(volumesOf(record));
  } catch (cause) {
    // A client takes "not found" of a create for the image, and pulls.
    throw kindOf(cause) === "notFound" ? invalid(sentenceOf(cause), { cause }) : cause;
  }
}

/**
 * Whose processes and IPC are to be shared must be there, as in Docker, which needs their labels, where it does.
 * @throws EngineError "invalid": a client takes "not found" of a create for the image, and pulls.
 */
function checkShared({ records }: Context, host: HostConfig): void {
  const { ipcMode, pidMode, privileged, securityOptions } = host;
  const isLabelled = securityOptions.some((option) => option.split("=", 1)[0] === "label");
  if (isLabelled || privileged || ipcMode.mode === "host" || pidMode.mode === "host") return;
  for (const mode of [ipcMode, pidMode]) {
    if (mode.mode !== "container") continue;
    try {
      records.resolve(mode.container);
    } catch (cause) {
      throw invalid(sentenceOf(cause), { cause });
    }
  }
}

/** A namespace's container by its id, so that a rename breaks nothing. */
export function joinedById<Mode extends { readonly mode: string }>(
  records: Pick<Context["records"], "resolve">,
  mode: Mode,
): Mode {
  if (mode.mode !== "container") return mode;
  const target = (mode as unknown as Extract<NamespaceMode, { mode: "container" }>).container;
  try {
    return { ...mode, container: records.resolve(target).id };
  } catch {
    // Where that must be known by now, `checkShared` says so; else the start does.
    return mode;
  }
}

/** The engine's defaults where nothing was asked. */
function withDefaults({ records, options, facts }: Context, host: HostConfig): HostConfig {
  const byId = <Mode extends { readonly mode: string }>(mode: Mode): Mode =>
    joinedById(records, mode);
  const driver = host.log.driver === "" ? options.defaultLog.driver : host.log.driver;
  const inherited = driver === options.defaultLog.driver ? options.defaultLog.options : {};
  const names = new Set(host.ulimits.map(({ name }) => name));
  return {
    ...host,
    runtime: host.runtime ?? options.defaultRuntime,
    log: { driver, options: { ...inherited, ...host.log.options } },
    shmSizeBytes:
      host.shmSizeBytes === null || host.shmSizeBytes === 0
        ? options.defaultShmSizeBytes
        : host.shmSizeBytes,
    securityOptions: withPrivilegesOf(options, host.securityOptions),
    ulimits: [...host.ulimits, ...options.defaultUlimits.filter(({ name }) => !names.has(name))],
    pidMode: byId(host.pidMode),
    ipcMode: byId(host.ipcMode),
    cgroupNamespaceMode: cgroupNamespaceOf(host, facts.cgroupUnified),
    networkMode: byId(host.networkMode),
    ...(host.links === undefined ? {} : { links: resolveLinks(host.links, host, records) }),
  };
}

/** The engine's own defaults, where the container says nothing of the kind. */
function withPrivilegesOf(
  options: Pick<Context["options"], "noNewPrivileges" | "seccompUnconfined">,
  asked: readonly string[],
): readonly string[] {
  const says = (name: string) => asked.some((option) => option.startsWith(name));
  return [
    ...asked,
    ...(options.noNewPrivileges && !says("no-new-privileges") ? ["no-new-privileges"] : []),
    ...(options.seccompUnconfined && !says("seccomp") ? ["seccomp=unconfined"] : []),
  ];
}

/**
 * A privileged container of the first version sees the host's cgroups, as in Docker.
 * @throws EngineError "invalid": in the host's namespace of the second version all cgroups are seen, so those would be writable
 */
function cgroupNamespaceOf(
  { cgroupNamespaceMode: asked, privileged, securityOptions }: HostConfig,
  unified: boolean,
): HostConfig["cgroupNamespaceMode"] {
  if (asked.mode === "default") return { mode: unified ? "private" : "host" };
  const isOpen = unified && asked.mode === "host" && !privileged && securityOptions.length > 0;
  if (isOpen && parseSecurityOptions(securityOptions).writableCgroups === true) {
    throw invalid("writable-cgroups needs a cgroup namespace of the container's own");
  }
  return asked;
}

function networkWarnings({ networkMode, ports }: HostConfig, forwarding: boolean): string[] {
  const warnings: string[] = [];
  if (!forwarding && networkMode.mode === "network") {
    warnings.push("IPv4 forwarding is disabled. Networking will not work.");
  }
  if (networkMode.mode === "host" && ports.length > 0) {
    warnings.push("Published ports are discarded when using host network mode");
  }
  return warnings;
}

/** Who shares a network shares its name, as far as that container is known by now. */
function hostnameOf(
  { records, facts }: Context,
  { config, host, id }: { config: ContainerConfig; host: HostConfig; id: string },
): Pick<ContainerConfig, "hostname" | "domainname"> {
  const { hostname, domainname } = config;
  if (hostname !== "") return { hostname, domainname };
  const { networkMode, utsMode } = host;
  if (networkMode.mode === "host" || utsMode.mode === "host") {
    return { hostname: facts.hostname, domainname };
  }
  const shared = networkMode.mode === "container" ? records.get(networkMode.container) : undefined;
  return shared === undefined
    ? { hostname: shortId(id), domainname }
    : { hostname: shared.config.hostname, domainname: shared.config.domainname };
}

/** `--mount` wants its source to be there; `-v` makes it at the start. */
function checkSources(context: Context, mounts: readonly ResolvedMount[]): void {
  for (const mount of mounts) {
    if (mount.type !== "bind" || mount.createSource) continue;
    // The start asks it, in a process that can be given up.
    if (mayStall(context, mount.source)) continue;
    if (statSync(mount.source, { throwIfNoEntry: false }) === undefined) {
      throw invalid(
        `invalid mount config for type "bind": bind source path does not exist: ${mount.source}`,
      );
    }
  }
}
