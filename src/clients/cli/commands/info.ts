/** `naru info`: what the daemon says about itself and its host. */
import { sentenceOf } from "#base";
import { ApiError, systemInfo } from "#clients/api-client";
import type { SystemInfo } from "#wire/docker";

import { compileFormat } from "../output/formatter.ts";
import { binarySize } from "../output/units.ts";
import { asType, TemplateError } from "#go-template";
import { print, printLine, warn } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { FORMAT_FLAG, JSON_FLAG } from "./shared-flags.ts";

const TEMPLATE_EXIT = 64;

export const info: Command = {
  flags: [FORMAT_FLAG, JSON_FLAG],
  async run({ flags, session }) {
    const format = flags.bool("json") ? "json" : flags.string("format");
    const client = {
      Debug: session.debug,
      Version: session.build.version,
      GitCommit: session.build.commit,
      Context: session.contextName,
      Plugins: [],
      Warnings: null,
    };
    let server: SystemInfo | undefined;
    let failure = "";
    try {
      server = await systemInfo(await session.client());
    } catch (cause) {
      failure = `${cause instanceof ApiError ? "Error response from daemon: " : ""}${sentenceOf(cause)}`;
    }
    if (format !== "") {
      const errors = failure === "" ? {} : { ServerErrors: [failure] };
      const render = compile(format);
      printLine(execute(render, { ...server, ...errors, ClientInfo: client }));
    } else {
      print(
        `Client:\n Version:    ${client.Version}\n Context:    ${client.Context}\n Debug Mode: ${client.Debug}\n\nServer:\n`,
      );
      if (server !== undefined) print(serverText(server));
      for (const warning of server?.Warnings ?? []) warn(warning);
    }
    if (failure !== "") throw new ExitError(1, failure);
    return 0;
  },
};

function compile(format: string): (data: unknown) => string {
  try {
    return compileFormat(format);
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new ExitError(TEMPLATE_EXIT, `template parsing error: ${cause.message}`);
  }
}

/** Docker tells a template's mistakes as they are. */
function execute(render: (data: unknown) => string, data: object): string {
  try {
    return render(asType("system.dockerInfo", data));
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new ExitError(1, cause.message);
  }
}

type Line = string | false;

function serverText(server: SystemInfo): string {
  const lines: Line[] = [
    ` Containers: ${server.Containers}`,
    `  Running: ${server.ContainersRunning}`,
    `  Paused: ${server.ContainersPaused}`,
    `  Stopped: ${server.ContainersStopped}`,
    ` Images: ${server.Images}`,
    ` Server Version: ${server.ServerVersion}`,
    ` Storage Driver: ${server.Driver}`,
    ...(server.DriverStatus ?? []).map(([name, value]) => `  ${name}: ${value}`),
    ` Logging Driver: ${server.LoggingDriver}`,
    ` Cgroup Driver: ${server.CgroupDriver}`,
    ` Cgroup Version: ${server.CgroupVersion}`,
    ...pluginLines(server),
    ` Swarm: ${server.Swarm?.LocalNodeState || "inactive"}`,
    ...runtimeLines(server),
    ...securityLines(server.SecurityOptions ?? []),
    ` Kernel Version: ${server.KernelVersion}`,
    ` Operating System: ${server.OperatingSystem}`,
    ` OSType: ${server.OSType}`,
    ` Architecture: ${server.Architecture}`,
    ` CPUs: ${server.NCPU}`,
    ` Total Memory: ${binarySize(server.MemTotal)}`,
    ` Name: ${server.Name}`,
    ` ID: ${server.ID}`,
    ` Docker Root Dir: ${server.DockerRootDir}`,
    ` Debug Mode: ${server.Debug}`,
    server.HttpProxy ? ` HTTP Proxy: ${server.HttpProxy}` : false,
    server.HttpsProxy ? ` HTTPS Proxy: ${server.HttpsProxy}` : false,
    server.NoProxy ? ` No Proxy: ${server.NoProxy}` : false,
    ...(server.Labels?.length ? [" Labels:", ...server.Labels.map((label) => `  ${label}`)] : []),
    ` Experimental: ${server.ExperimentalBuild}`,
    ...registryLines(server),
    ` Live Restore Enabled: ${server.LiveRestoreEnabled}`,
  ];
  return `${lines.filter((line) => line !== false).join("\n")}\n\n`;
}

const pluginLines = ({ Plugins: plugins }: SystemInfo): string[] => [
  " Plugins:",
  `  Volume: ${(plugins?.Volume ?? []).join(" ")}`,
  `  Network: ${(plugins?.Network ?? []).join(" ")}`,
  `  Log: ${(plugins?.Log ?? []).join(" ")}`,
];

const runtimeLines = (server: SystemInfo): string[] => [
  ` Runtimes: ${Object.keys(server.Runtimes ?? {})
    .toSorted()
    .join(" ")}`,
  ` Default Runtime: ${server.DefaultRuntime}`,
  ` Init Binary: ${server.InitBinary}`,
];

/** `name=seccomp,profile=builtin` as a name with its details below. */
function securityLines(options: readonly string[]): string[] {
  if (options.length === 0) return [];
  const lines = options.flatMap((option) => {
    const pairs = option.split(",").map((pair) => pair.split("="));
    const name = pairs.find(([key]) => key === "name")?.[1] ?? option;
    const details = pairs
      .filter(([key]) => key !== "name")
      .map(([key = "", value = ""]) => `   ${key === "profile" ? "Profile" : key}: ${value}`);
    return [`  ${name}`, ...details];
  });
  return [" Security Options:", ...lines];
}

function registryLines({ RegistryConfig: registry }: SystemInfo): string[] {
  const insecure = [
    ...Object.entries(registry?.IndexConfigs ?? {})
      .filter(([, { Secure }]) => !Secure)
      .map(([name]) => name),
    ...(registry?.InsecureRegistryCIDRs ?? []),
  ];
  const mirrors = registry?.Mirrors ?? [];
  return [
    ...(insecure.length > 0
      ? [" Insecure Registries:", ...insecure.map((name) => `  ${name}`)]
      : []),
    ...(mirrors.length > 0 ? [" Registry Mirrors:", ...mirrors.map((name) => `  ${name}`)] : []),
  ];
}
