/** Docker's little languages for namespaces, networks and restart policies. */
import { invalid } from "#base";
import type {
  DefaultMode,
  IpcMode,
  NamespaceMode,
  NetworkMode,
  RestartPolicy,
} from "#engine/container";

/** The container named by `container:web`, or null for another word. @throws EngineError "invalid" for none */
function containerOf(text: string, what: string): string | null {
  if (text !== "container" && !text.startsWith("container:")) return null;
  const container = text.slice("container:".length);
  if (container === "") throw invalid(`invalid ${what} mode: ${text}`);
  return container;
}

/** PidMode and UTSMode: "", `host` or `container:web`. */
export function decodeNamespaceMode(text: string, what: string): NamespaceMode {
  if (text === "") return { mode: "private" };
  if (text === "host") return { mode: "host" };
  const container = containerOf(text, what);
  if (container === null) throw invalid(`invalid ${what} mode: ${text}`);
  return { mode: "container", container };
}

export function encodeNamespaceMode(mode: NamespaceMode, byDefault: string): string {
  switch (mode.mode) {
    case "private":
      return byDefault;
    case "host":
      return "host";
    case "container":
      return `container:${mode.container}`;
  }
}

/** Where `private` is a word: cgroup namespaces. */
export function decodeCgroupNamespaceMode(text: string): NamespaceMode | DefaultMode {
  if (text === "") return { mode: "default" };
  if (text === "private" || text === "host") return { mode: text };
  throw invalid(`invalid cgroup namespace mode: ${text}`);
}

export function decodeIpcMode(text: string): IpcMode {
  if (text === "private") return { mode: "private" };
  if (text === "shareable" || text === "none") return { mode: text };
  return decodeNamespaceMode(text, "IPC");
}

export function encodeIpcMode(mode: IpcMode): string {
  if (mode.mode === "shareable" || mode.mode === "none") return mode.mode;
  return encodeNamespaceMode(mode, "private");
}

/** "" and `default` are the default bridge, whose name is `bridge`. */
export function decodeNetworkMode(text: string): NetworkMode {
  if (text === "" || text === "default") return { mode: "network", name: "bridge" };
  if (text === "host" || text === "none") return { mode: text };
  const container = containerOf(text, "network");
  return container === null ? { mode: "network", name: text } : { mode: "container", container };
}

export function encodeNetworkMode(mode: NetworkMode): string {
  switch (mode.mode) {
    case "network":
      return mode.name;
    case "host":
    case "none":
      return mode.mode;
    case "container":
      return `container:${mode.container}`;
  }
}

/** @throws EngineError "invalid" in Docker's words */
export function decodeRestartPolicy(name: string, maximumRetries: number): RestartPolicy {
  if (maximumRetries !== 0 && name !== "on-failure") {
    const hint = maximumRetries < 0 ? " and cannot be negative" : "";
    throw invalid(
      `invalid restart policy: maximum retry count can only be used with 'on-failure'${hint}`,
    );
  }
  switch (name) {
    case "":
      return { name: "no" };
    case "no":
    case "always":
    case "unless-stopped":
      return { name };
    case "on-failure":
      if (maximumRetries < 0) {
        throw invalid("invalid restart policy: maximum retry count cannot be negative");
      }
      return { name, maximumRetries };
    default:
      throw invalid(
        `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
      );
  }
}
