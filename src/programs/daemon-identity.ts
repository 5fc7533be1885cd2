/** What the daemon says of itself in `info` and `version`, beside what it has. */
import { basename } from "node:path";

import { type HostFacts, listCdiDevices } from "#engine/container";
import { LOG_DRIVERS } from "#engine/log-delivery";
import { parseRuntimeCommand } from "#engine/runtime";
import type { EngineIdentity } from "#engine/system";
import { API_VERSION } from "#wire/docker";

import manifest from "../../package.json" with { type: "json" };
import { nameOfHost } from "./daemon-hosts.ts";
import type { DaemonOptions } from "./daemon-options.ts";

declare const NARU_COMMIT: string | undefined;
declare const NARU_BUILT: string | undefined;

export const VERSION = manifest.version;
export const COMMIT = typeof NARU_COMMIT === "string" ? NARU_COMMIT : "source";
export const BUILT = typeof NARU_BUILT === "string" ? NARU_BUILT : "";

export function identityOf(
  options: DaemonOptions,
  host: { readonly facts: HostFacts; readonly cgroupVersion: "1" | "2" },
): EngineIdentity {
  const { engine } = options;
  return {
    dataRoot: options.dataRoot,
    runtimes: new Map(
      [...engine.runtimes].map(([name, command]) => [name, parseRuntimeCommand(command)]),
    ),
    defaultRuntime: engine.defaultRuntime,
    securityOptions: [
      ...(host.facts.apparmor ? ["name=apparmor"] : []),
      `name=seccomp,profile=${options.seccompProfileName}`,
      ...(engine.userRemap === null ? [] : ["name=userns"]),
      ...(options.modes.cgroupns === "private" ? ["name=cgroupns"] : []),
      ...(engine.noNewPrivileges ? ["name=no-new-privileges"] : []),
    ],
    insecureRegistries: options.insecureRegistries,
    registryMirrors: options.registryMirrors,
    labels: options.labels,
    cdiFolders: engine.cdiFolders,
    cdiDevices: listCdiDevices(engine.cdiFolders),
    addressPools: options.network.defaultAddressPools ?? [],
    liveRestore: options.liveRestore,
    debug: options.debug,
    loggingDriver: engine.defaultLog.driver,
    authorizationPlugins: options.authorizationPlugins,
    // "none" keeps nothing: Docker does not count it as one.
    logDrivers: LOG_DRIVERS.filter((name) => name !== "none"),
    proxies: options.proxies,
    ...initOf(engine.initPath, options.said.has("init-path")),
    cgroupVersion: host.cgroupVersion,
    warnings: warningsOf(options),
    version: {
      version: VERSION,
      apiVersion: API_VERSION,
      minApiVersion: options.minApiVersion,
      isExperimental: options.experimental,
      gitCommit: COMMIT,
      buildTime: BUILT,
    },
  };
}

const ATTACK_SURFACE = `
         Access to the remote API is equivalent to root access on the host. Refer
         to the 'Docker daemon attack surface' section in the documentation for
         more information: https://docs.docker.com/go/attack-surface/
In future versions this will be a hard failure preventing the daemon from starting! Learn more at: https://docs.docker.com/go/api-security/`;

/** Docker's lines, for what a person configured. */
function warningsOf({ hosts, tls, seccompProfile }: DaemonOptions): string[] {
  const served = hosts.flatMap((host) => {
    if (host.kind !== "tcp" || tls?.clientAuthority) return [];
    const address = nameOfHost(host).slice("tcp://".length);
    const [scheme, lack] = tls ? ["https", "TLS client verification"] : ["http", "encryption"];
    return [
      `[DEPRECATION NOTICE]: API is accessible on ${scheme}://${address} without ${lack}.${ATTACK_SURFACE}`,
    ];
  });
  return seccompProfile === "builtin"
    ? served
    : [...served, "WARNING: daemon is not using the default seccomp profile"];
}

interface InitProgram {
  readonly initVersion: string;
  /** null when the program tells nothing at all. */
  readonly initCommit: string | null;
}

/** Asked once: the program does not change under a running engine. */
const initPrograms = new Map<string, InitProgram>();

/** @param isSaid the operator's own path is told whole */
function initOf(path: string | null, isSaid: boolean): InitProgram & { initBinary: string } {
  if (path === null) return { initBinary: "", initVersion: "", initCommit: null };
  let known = initPrograms.get(path);
  if (known === undefined) initPrograms.set(path, (known = askInit(path)));
  return { initBinary: isSaid ? path : basename(path), ...known };
}

/** `tini version 0.19.0 - git.de40ad0`; distributions leave the commit out. */
function askInit(path: string): InitProgram {
  const { stdout } = Bun.spawnSync([path, "--version"], { stderr: "ignore", timeout: 2000 });
  const match = /version ([\w.-]+)(?: - git\.(\w+))?/.exec(stdout.toString());
  return { initVersion: match?.[1] ?? "", initCommit: match === null ? null : (match[2] ?? "") };
}
