/** `--security-opt`, in Docker's words: what confines a container's processes besides capabilities. Pure. */
import { invalid } from "#base";

export interface SecurityOptions {
  readonly noNewPrivileges: boolean;
  /** null: the engine's default; "builtin", "unconfined", or the profile's JSON. */
  readonly seccomp: string | null;
  /** null: none was asked for. */
  readonly apparmor: string | null;
  readonly systemPathsConfined: boolean;
  /** null: as `--privileged` says. */
  readonly writableCgroups: boolean | null;
}

/** What the engine's own profile is called; hosts share it with Docker. */
export const DEFAULT_APPARMOR_PROFILE = "docker-default";

/** @throws EngineError "invalid": `invalid --security-opt 2: "x=y"` */
export function parseSecurityOptions(options: readonly string[]): SecurityOptions {
  const result: { -readonly [Key in keyof SecurityOptions]: SecurityOptions[Key] } = {
    noNewPrivileges: false,
    seccomp: null,
    apparmor: null,
    systemPathsConfined: true,
    writableCgroups: null,
  };
  for (const option of options) {
    const [key, value] = splitOption(option);
    if (key === "no-new-privileges") result.noNewPrivileges = parseFlag(value, option);
    else if (key === "writable-cgroups") result.writableCgroups = parseFlag(value, option);
    else if (option === "disable" || (key === "label" && value !== undefined)) continue;
    else if (value === undefined) throw invalid(`invalid --security-opt 1: "${option}"`);
    else if (key === "seccomp") {
      result.seccomp = value === "" ? null : value;
    } else if (key === "apparmor") result.apparmor = value;
    else if (option === "systempaths=unconfined") result.systemPathsConfined = false;
    else throw invalid(`invalid --security-opt 2: "${option}"`);
  }
  return result;
}

/**
 * The AppArmor profile of a container's processes; null where the host has no AppArmor: Docker then lets what was
 * asked pass, as it does with SELinux labels on a host without SELinux.
 */
export function apparmorProfileOf(
  { apparmor }: Pick<SecurityOptions, "apparmor">,
  { privileged, enabled }: { privileged: boolean; enabled: boolean },
): string | null {
  if (!enabled) return null;
  if (apparmor !== null && apparmor !== "") return apparmor;
  return privileged ? "unconfined" : DEFAULT_APPARMOR_PROFILE;
}

/** `key=value`, or the older `key:value`. */
function splitOption(option: string): [string, string | undefined] {
  const at = option.includes("=") ? option.indexOf("=") : option.indexOf(":");
  return at < 0 ? [option, undefined] : [option.slice(0, at), option.slice(at + 1)];
}

function parseFlag(value: string | undefined, option: string): boolean {
  if (value === undefined || /^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw invalid(`invalid --security-opt 2: "${option}"`);
}
