/** Mount options as mount(8) and the OCI runtime specification write them, sorted into what the kernel takes. */
import { invalid, notImplemented } from "#base";
import {
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_NOSYMFOLLOW,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_STRICTATIME,
  MS_DIRSYNC,
  MS_LAZYTIME,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_PRIVATE,
  MS_RDONLY,
  MS_RELATIME,
  MS_SHARED,
  MS_SLAVE,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
} from "./constants.ts";

export interface MountOptions {
  readonly bind: boolean;
  /** A bind takes the mounts below its source along. */
  readonly recursiveBind: boolean;
  /** MS_*, for a new file system. */
  readonly flags: number;
  /** MOUNT_ATTR_*, for a bind. */
  readonly set: number;
  readonly clear: number;
  /** The same for every mount below as well: `rro` and its kin. */
  readonly recursiveSet: number;
  readonly recursiveClear: number;
  readonly propagation: { readonly type: number; readonly recursive: boolean } | null;
  /** What is left, for the file system itself. */
  readonly data: string;
}

interface Flag {
  readonly flag: number;
  readonly attribute: number;
  readonly on: boolean;
}

const flag = (flag: number, attribute: number, on = true): Flag => ({ flag, attribute, on });

const flags: Readonly<Record<string, Flag>> = {
  ro: flag(MS_RDONLY, MOUNT_ATTR_RDONLY),
  rw: flag(MS_RDONLY, MOUNT_ATTR_RDONLY, false),
  nosuid: flag(MS_NOSUID, MOUNT_ATTR_NOSUID),
  suid: flag(MS_NOSUID, MOUNT_ATTR_NOSUID, false),
  nodev: flag(MS_NODEV, MOUNT_ATTR_NODEV),
  dev: flag(MS_NODEV, MOUNT_ATTR_NODEV, false),
  noexec: flag(MS_NOEXEC, MOUNT_ATTR_NOEXEC),
  exec: flag(MS_NOEXEC, MOUNT_ATTR_NOEXEC, false),
  nosymfollow: flag(MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
  symfollow: flag(MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW, false),
  nodiratime: flag(MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
  diratime: flag(MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, false),
  sync: flag(MS_SYNCHRONOUS, 0),
  async: flag(MS_SYNCHRONOUS, 0, false),
  dirsync: flag(MS_DIRSYNC, 0),
  lazytime: flag(MS_LAZYTIME, 0),
  nolazytime: flag(MS_LAZYTIME, 0, false),
};

// The access-time attributes are values of one field, not bits of their own.
const accessTimes: Readonly<Record<string, { flag: number; attribute: number }>> = {
  relatime: { flag: MS_RELATIME, attribute: 0 },
  noatime: { flag: MS_NOATIME, attribute: MOUNT_ATTR_NOATIME },
  strictatime: { flag: MS_STRICTATIME, attribute: MOUNT_ATTR_STRICTATIME },
};
const noOptions = new Set(["defaults", "atime", "norelatime", "nostrictatime", "bind", "rbind"]);

const propagations: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  slave: MS_SLAVE,
  shared: MS_SHARED,
  unbindable: MS_UNBINDABLE,
};

/** Every option that is known here by name, and not left to the file system. */
export const mountOptionNames = (): string[] =>
  [
    ...noOptions,
    ...Object.entries(flags).flatMap(([name, { attribute }]) =>
      attribute === 0 ? [name] : [name, `r${name}`],
    ),
    ...Object.keys(accessTimes),
    ...Object.keys(propagations).flatMap((name) => [name, `r${name}`]),
  ].toSorted();

/** Pure. @throws EngineError "notImplemented" for `tmpcopyup` and id-mapped mounts, "invalid" for a NUL */
export function parseMountOptions(type: string, options: readonly string[]): MountOptions {
  let [mountFlags, set, clear, recursiveSet, recursiveClear] = [0, 0, 0, 0, 0];
  let propagation: MountOptions["propagation"] = null;
  const data: string[] = [];
  for (const option of options) {
    const plain = option.startsWith("r") ? option.slice(1) : option;
    const known = flags[option];
    const recursive = known === undefined && option.startsWith("r") ? flags[plain] : undefined;
    const time = accessTimes[option];
    if (option.includes("\0")) throw invalid("invalid mount option");
    if (noOptions.has(option)) continue;
    else if (known !== undefined) {
      mountFlags = known.on ? mountFlags | known.flag : mountFlags & ~known.flag;
      set = known.on ? set | known.attribute : set & ~known.attribute;
      clear = known.on ? clear & ~known.attribute : clear | known.attribute;
    } else if (recursive !== undefined && recursive.attribute !== 0) {
      if (recursive.on) recursiveSet |= recursive.attribute;
      else recursiveClear |= recursive.attribute;
    } else if (time !== undefined) {
      mountFlags |= time.flag;
      set = (set & ~MOUNT_ATTR__ATIME) | time.attribute;
      clear |= MOUNT_ATTR__ATIME;
    } else if (propagations[option] !== undefined) {
      propagation = { type: propagations[option], recursive: false };
    } else if (propagations[plain] !== undefined) {
      propagation = { type: propagations[plain], recursive: true };
    } else if (option === "tmpcopyup" || option === "idmap" || option === "ridmap") {
      throw notImplemented(`mount option ${option}`);
    } else data.push(option);
  }
  return {
    bind: type === "bind" || options.includes("bind") || options.includes("rbind"),
    recursiveBind: options.includes("rbind"),
    flags: mountFlags,
    set,
    clear,
    recursiveSet,
    recursiveClear,
    propagation,
    data: data.join(","),
  };
}
