/**
 * Container Device Interface: what vendors say a device of theirs needs, and which of it a container gets.
 *
 *   <folder>/*.json, *.yaml   { cdiVersion, kind: "vendor.com/class", containerEdits, devices: [{ name, containerEdits }] }
 *
 * Read anew at each start that asks for such a device, and at no other: vendors write the files when they please. A later
 * folder's device hides an earlier one's of the same name; two of one folder hide each other.
 * Spec: CDI 1.0, "CDI JSON Specification".
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { internal, invalid, sentenceOf } from "#base";
import type {
  DeviceRule,
  DeviceSpec,
  HookName,
  HookSpec,
  IntelRdtSpec,
  MountSpec,
  RuntimeSpec,
} from "#oci";

import type { HostConfig } from "./config.ts";
import { deviceAt } from "./devices.ts";

const FILE_LIMIT_BYTES = 4 * 1024 * 1024;
const FILES_LIMIT = 512;

interface DeviceNode {
  readonly path?: string;
  readonly hostPath?: string;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  readonly permissions?: string;
  readonly uid?: number;
  readonly gid?: number;
}

interface VendorHook {
  readonly hookName?: string;
  readonly path?: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds. */
  readonly timeout?: number;
}

interface Edits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly DeviceNode[];
  readonly mounts?: readonly {
    readonly hostPath?: string;
    readonly containerPath?: string;
    readonly options?: readonly string[];
    readonly type?: string;
  }[];
  readonly additionalGids?: readonly number[];
  readonly hooks?: readonly VendorHook[];
  readonly intelRdt?: Partial<Record<string, unknown>>;
  readonly netDevices?: readonly { readonly hostInterfaceName?: string; readonly name?: string }[];
}

type Annotations = Readonly<Record<string, unknown>>;

interface Vendor {
  readonly folder: number;
  readonly annotations: Annotations;
  readonly common: Edits;
  readonly own: Edits;
}

/** What is added to a container. */
export interface DeviceEdits {
  readonly env: readonly string[];
  readonly devices: readonly DeviceSpec[];
  readonly rules: readonly DeviceRule[];
  readonly mounts: readonly MountSpec[];
  readonly groups: readonly number[];
  readonly hooks: readonly { readonly name: HookName; readonly hook: HookSpec }[];
  /** Devices of the host's network by their names there. */
  readonly netDevices: readonly (readonly [host: string, name: string])[];
  /** The last one that was asked for. */
  readonly intelRdt: IntelRdtSpec | null;
}

const NOTHING: DeviceEdits = {
  env: [],
  devices: [],
  rules: [],
  mounts: [],
  groups: [],
  hooks: [],
  netDevices: [],
  intelRdt: null,
};

/** @throws EngineError "invalid" or "internal" in Docker's words */
export function requestedEdits(
  requests: HostConfig["deviceRequests"],
  folders: readonly string[],
): DeviceEdits {
  if (requests === undefined || requests.length === 0) return NOTHING;
  const names = requests.flatMap(({ driver, count, ids, capabilities, options }) => {
    if (driver !== "cdi") {
      const asked = capabilities.map((all) => `[${all.join(" ")}]`).join(" ");
      throw invalid(`could not select device driver "${driver}" with capabilities: [${asked}]`);
    }
    if (count !== 0) throw invalid("unexpected count in CDI device request");
    if (Object.keys(options).length > 0) throw invalid("unexpected options in CDI device request");
    return ids;
  });
  return names.length === 0 ? NOTHING : editsOf(names, readVendors(folders));
}

/** Every device of the folders, by its whole name; null: two of one folder have it. */
export function readVendors(folders: readonly string[]): ReadonlyMap<string, Vendor | null> {
  const found = new Map<string, Vendor | null>();
  for (const [folder, path] of folders.entries()) {
    for (const document of documentsIn(path)) {
      const { kind, containerEdits: common = {}, devices = [], annotations: all } = document;
      if (typeof kind !== "string" || !Array.isArray(devices)) continue;
      for (const device of devices) {
        const { name, containerEdits: own = {}, annotations: its } = device ?? {};
        if (typeof name !== "string") continue;
        const whole = `${kind}=${name}`;
        const before = found.get(whole);
        const annotations = { ...annotationsOf(all), ...annotationsOf(its) };
        found.set(whole, before?.folder === folder ? null : { folder, annotations, common, own });
      }
    }
  }
  return found;
}

const annotationsOf = (value: unknown): Annotations =>
  typeof value === "object" && value !== null ? { ...value } : {};

const CLASS = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW = "org.mobyproject.buildkit.device.autoallow";

/** JSON has texts there, YAML what looks like a boolean. */
const isTrue = (value: unknown): boolean =>
  value === true || (typeof value === "string" && /^(?:1|t|true)$/i.test(value));

/** A device that a build step asked for. */
export interface FoundDevice {
  readonly name: string;
  /** Its vendor lets every build have it. */
  readonly isForAll: boolean;
}

/**
 * The devices that a name means: one, the first of a kind, all of a kind (`kind=*`), or those of a class that their
 * vendor gives them. @returns none where there is none
 */
export function findDevices(asked: string, folders: readonly string[]): FoundDevice[] {
  const here = [...readVendors(folders)]
    .flatMap(([name, vendor]) => (vendor === null ? [] : [{ name, vendor }]))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const [kind = "", ...rest] = asked.split("=");
  const name = rest.join("=");
  const ofKind = kind.includes("/") ? here.filter((each) => each.name.startsWith(`${kind}=`)) : [];
  const named = ofKind.filter((each) => each.name === asked);
  const byName = name === "" ? ofKind.slice(0, 1) : name === "*" ? ofKind : named;
  const isOfClass = ({ vendor }: { vendor: Vendor }) => vendor.annotations[CLASS] === asked;
  const found = byName.length > 0 ? byName : here.filter(isOfClass);
  return found.map((each) => ({
    name: each.name,
    isForAll: isTrue(each.vendor.annotations[AUTO_ALLOW]),
  }));
}

/** `vendor.com/class=name` of each device that a container can have. */
export const listCdiDevices = (folders: readonly string[]): string[] =>
  [...readVendors(folders)].flatMap(([name, vendor]) => (vendor === null ? [] : [name])).toSorted();

interface VendorDocument {
  readonly kind?: string;
  readonly containerEdits?: Edits;
  readonly annotations?: unknown;
  readonly devices?: readonly ({
    readonly name?: string;
    readonly annotations?: unknown;
    readonly containerEdits?: Edits;
  } | null)[];
}

/** A file that cannot be read is no reason that another vendor's device cannot be had: its devices are missing. */
function documentsIn(folder: string): VendorDocument[] {
  const names = (() => {
    try {
      return readdirSync(folder).filter((name) => /\.(?:json|yaml)$/.test(name));
    } catch {
      return [];
    }
  })();
  return names
    .toSorted()
    .slice(0, FILES_LIMIT)
    .flatMap((name): VendorDocument[] => {
      try {
        const path = join(folder, name);
        const stat = statSync(path);
        if (!stat.isFile() || stat.size > FILE_LIMIT_BYTES) return [];
        const text = readFileSync(path, "utf8");
        const document: unknown = name.endsWith(".json") ? JSON.parse(text) : Bun.YAML.parse(text);
        return typeof document === "object" && document !== null ? [document] : [];
      } catch {
        return [];
      }
    });
}

function editsOf(
  names: readonly string[],
  vendors: ReadonlyMap<string, Vendor | null>,
): DeviceEdits {
  const missing = names.filter((name) => (vendors.get(name) ?? null) === null);
  const failed = "CDI device injection failed:";
  if (missing.length > 0) {
    throw internal(`${failed} unresolvable CDI devices ${missing.join(", ")}`);
  }
  const wanted = [...new Set(names)].flatMap((name) => vendors.get(name) ?? []);
  // What a vendor says of all of its devices goes in once, before the first.
  const edits = [...new Set(wanted.flatMap(({ common, own }) => [common, own]))];
  try {
    return edits.map(translate).reduce(joined, NOTHING);
  } catch (cause) {
    throw internal(`${failed} ${sentenceOf(cause)}`, { cause });
  }
}

const joined = (first: DeviceEdits, second: DeviceEdits): DeviceEdits => ({
  env: [...first.env, ...second.env],
  devices: [...first.devices, ...second.devices],
  rules: [...first.rules, ...second.rules],
  mounts: [...first.mounts, ...second.mounts],
  groups: [...new Set([...first.groups, ...second.groups])],
  hooks: [...first.hooks, ...second.hooks],
  netDevices: [...first.netDevices, ...second.netDevices],
  intelRdt: second.intelRdt ?? first.intelRdt,
});

function translate(edits: Edits): DeviceEdits {
  const nodes = (edits.deviceNodes ?? []).map(deviceOf);
  return {
    env: (edits.env ?? []).map((entry) => {
      if (typeof entry === "string" && /^[^=]+=/.test(entry)) return entry;
      throw invalid(`invalid environment variable "${entry}"`);
    }),
    devices: nodes.map(({ device }) => device),
    rules: nodes.map(({ rule }) => rule),
    mounts: (edits.mounts ?? []).map(({ hostPath, containerPath, options, type }) => ({
      destination: absolute(containerPath),
      type: type || "bind",
      source: absolute(hostPath),
      options: [...(options ?? []), ...(options?.some(isBind) ? [] : ["bind"])],
    })),
    groups: (edits.additionalGids ?? []).filter((gid) => Number.isInteger(gid) && gid > 0),
    hooks: (edits.hooks ?? []).map(hookOf),
    netDevices: (edits.netDevices ?? []).map(netDeviceOf),
    intelRdt: edits.intelRdt === undefined ? null : intelRdtOf(edits.intelRdt),
  };
}

const HOOK_NAMES: readonly HookName[] = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
];

function hookOf({ hookName, path, args, env, timeout }: VendorHook) {
  const name = HOOK_NAMES.find((known) => known === hookName);
  if (name === undefined) throw invalid(`invalid hook name "${hookName ?? ""}"`);
  for (const words of [args ?? [], env ?? []]) {
    if (!Array.isArray(words) || words.some((word) => typeof word !== "string")) {
      throw invalid(`hook ${path ?? ""}: its words must be texts`);
    }
  }
  if (timeout !== undefined && !(Number.isFinite(timeout) && timeout >= 0)) {
    throw invalid(`hook ${path ?? ""}: invalid timeout ${timeout}`);
  }
  const hook: HookSpec = {
    path: absolute(path),
    ...(args && { args: [...args] }),
    ...(env && { env: [...env] }),
    // 0 is as good as none.
    ...(timeout ? { timeout } : {}),
  };
  return { name, hook };
}

function netDeviceOf({ hostInterfaceName, name }: NonNullable<Edits["netDevices"]>[number]) {
  for (const [field, value] of Object.entries({ hostInterfaceName, name })) {
    if (typeof value === "string" && INTERFACE_NAME.test(value)) continue;
    throw invalid(`invalid linux net device: ${field} ${JSON.stringify(value ?? "")}`);
  }
  return [hostInterfaceName ?? "", name ?? ""] as const;
}

/** As the kernel: 15 bytes, no space, no slash, neither "." nor "..". */
const INTERFACE_NAME = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;

/** Where the kernel shows it, once somebody has mounted it. */
const RESCTRL = "/sys/fs/resctrl/info";

function intelRdtOf(asked: NonNullable<Edits["intelRdt"]>): IntelRdtSpec {
  if (!existsSync(RESCTRL)) {
    throw invalid("intelRdt is specified in config, but Intel RDT is not supported or enabled");
  }
  const { closID = "" } = asked;
  if (typeof closID !== "string" || /^\.{1,2}$|[/\n]/.test(closID) || closID.length >= 4096) {
    throw invalid("invalid intel RDT: the closID is not a folder's name");
  }
  const words = ["closID", "l3CacheSchema", "memBwSchema"].map((field) => [field, "string"]);
  const switches = ["enableCMT", "enableMBM", "enableMonitoring"].map((name) => [name, "boolean"]);
  return Object.fromEntries(
    [...words, ...switches].flatMap(([field = "", type = ""]) =>
      typeof asked[field] === type ? [[field, asked[field]]] : [],
    ),
  );
}

const isBind = (option: string): boolean => option === "bind" || option === "rbind";

function absolute(path: string | undefined): string {
  if (typeof path === "string" && path.startsWith("/") && !path.includes("\0")) return path;
  throw invalid(`invalid path "${path ?? ""}": it must be absolute`);
}

function deviceOf(node: DeviceNode): { device: DeviceSpec; rule: DeviceRule } {
  const path = absolute(node.path);
  const hostPath = absolute(node.hostPath ?? path);
  const permissions = node.permissions ?? "rwm";
  if (!/^[rwm]{1,3}$/.test(permissions)) throw invalid(`invalid permissions "${permissions}"`);
  const given = node.type !== undefined && node.major !== undefined && node.minor !== undefined;
  const host = given ? null : deviceAt(hostPath, path);
  if (!given && host === null) throw invalid(`${hostPath} is not a device node`);
  const type = node.type ?? host?.type ?? "c";
  if (type !== "c" && type !== "b" && type !== "u") throw invalid(`invalid device type "${type}"`);
  const device: DeviceSpec = {
    ...host,
    type,
    path,
    major: node.major ?? host?.major ?? 0,
    minor: node.minor ?? host?.minor ?? 0,
    fileMode: node.fileMode ?? host?.fileMode ?? 0o666,
    uid: node.uid ?? host?.uid ?? 0,
    gid: node.gid ?? host?.gid ?? 0,
  };
  const { major = 0, minor = 0 } = device;
  const kind = type === "b" ? "b" : "c";
  return { device, rule: { allow: true, type: kind, major, minor, access: permissions } };
}

/** Pure: the spec with the edits in it. */
export function withEdits(spec: RuntimeSpec, edits: DeviceEdits): RuntimeSpec {
  if (edits === NOTHING) return spec;
  const names = new Set(edits.env.map((entry) => entry.split("=", 1)[0]));
  const { process, linux } = spec;
  const paths = new Set(edits.devices.map(({ path }) => path));
  return {
    ...spec,
    process: {
      ...process,
      env: [
        ...process.env.filter((entry) => !names.has(entry.split("=", 1)[0] ?? "")),
        ...edits.env,
      ],
    },
    mounts: [...spec.mounts, ...edits.mounts],
    ...(edits.hooks.length === 0 ? {} : { hooks: hooksOf(edits) }),
    linux: {
      ...linux,
      ...(edits.intelRdt === null ? {} : { intelRdt: edits.intelRdt }),
      devices: [...linux.devices.filter(({ path }) => !paths.has(path)), ...edits.devices],
      resources: { ...linux.resources, devices: [...linux.resources.devices, ...edits.rules] },
    },
  };
}

function hooksOf({ hooks }: DeviceEdits): NonNullable<RuntimeSpec["hooks"]> {
  const byName: NonNullable<RuntimeSpec["hooks"]> = {};
  for (const { name, hook } of hooks) (byName[name] ??= []).push(hook);
  return byName;
}
