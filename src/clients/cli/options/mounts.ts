/** `--mount`, `--volume` and `--tmpfs`: what they ask for, before the daemon judges it. */
import { isAbsolute, resolve } from "node:path";

import { invalid } from "#base";
import type { Mount } from "#wire/docker";

import { parseBool, parseBytes } from "../flags/values.ts";
import { csvFields, keyValue } from "./csv.ts";

type Draft = Partial<Omit<Mount, "Type">> & { Type: string };

/** A value of `--mount`. @throws Error in docker's words */
export function parseMount(text: string): Mount {
  const mount: Draft = { Type: "volume" };
  for (const field of csvFields(text)) setField(mount, field);
  if (mount.Type === "") throw new Error("type is required");
  if (mount.VolumeOptions !== undefined && mount.Type !== "volume") throw mixed("volume-*", mount);
  if (mount.BindOptions !== undefined && mount.Type !== "bind") throw mixed("bind-*", mount);
  if (mount.ImageOptions !== undefined && mount.Type !== "image") throw mixed("image-*", mount);
  if (mount.TmpfsOptions !== undefined && mount.Type !== "tmpfs") throw mixed("tmpfs-*", mount);
  checkReadOnly(mount);
  if (!mount.Target) throw new Error("target is required");
  return mount as Mount;
}

const mixed = (options: string, { Type }: Draft) =>
  new Error(`cannot mix '${options}' options with mount type '${Type}'`);

function checkReadOnly({ BindOptions: bind, ReadOnly }: Draft): void {
  if (bind?.ReadOnlyForceRecursive !== true) return;
  const because = "option 'bind-recursive=readonly' requires";
  if (ReadOnly !== true) throw new Error(`${because} 'readonly' to be specified in conjunction`);
  if (bind.Propagation !== "rprivate") {
    throw new Error(`${because} 'bind-propagation=rprivate' to be specified in conjunction`);
  }
}

/** Keys that may stand without a value. */
const BARE = new Set(["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"]);

function setField(mount: Draft, field: string): void {
  const [rawKey, rawValue] = keyValue(field);
  const key = rawKey.toLowerCase();
  if (rawValue === undefined && !BARE.has(key)) {
    throw new Error(`invalid field '${field}' must be a key=value pair`);
  }
  const value = rawValue ?? "true";
  const [family] = key.split("-", 1);
  switch (key) {
    case "type":
      mount.Type = value.toLowerCase();
      return;
    case "source":
    case "src":
      mount.Source = sourceOf(value);
      return;
    case "target":
    case "dst":
    case "destination":
      mount.Target = value;
      return;
    case "readonly":
    case "ro":
      mount.ReadOnly = boolField(key, value);
      return;
    case "consistency":
      mount.Consistency = value.toLowerCase();
      return;
    default:
  }
  const known =
    (family === "bind" && setBind(mount, key, value)) ||
    (family === "volume" && setVolume(mount, key, value)) ||
    (family === "tmpfs" && setTmpfs(mount, key, value)) ||
    (key === "image-subpath" && setImage(mount, value));
  if (!known) throw new Error(`unexpected key '${rawKey}' in '${field}'`);
}

/** A relative source is this client's, not the daemon's: `./data` becomes absolute here. */
const sourceOf = (value: string): string =>
  value === "." || value.startsWith("./") || value.startsWith("../") || value === ".."
    ? resolve(value)
    : value;

function boolField(key: string, value: string): boolean {
  try {
    return parseBool(value);
  } catch (cause) {
    throw new Error(`invalid value for ${key}: ${value}`, { cause });
  }
}

function setBind(mount: Draft, key: string, value: string): boolean {
  const bind = (mount.BindOptions ??= {});
  switch (key) {
    case "bind-propagation":
      bind.Propagation = value.toLowerCase();
      return true;
    case "bind-nonrecursive":
      bind.NonRecursive = boolField(key, value);
      return true;
    case "bind-create-src":
      bind.CreateMountpoint = boolField(key, value);
      return true;
    case "bind-recursive":
      return setRecursive(bind, value);
    default:
      return false;
  }
}

function setRecursive(bind: NonNullable<Mount["BindOptions"]>, value: string): boolean {
  switch (value) {
    case "enabled":
      return true;
    case "disabled":
      bind.NonRecursive = true;
      return true;
    case "writable":
      bind.ReadOnlyNonRecursive = true;
      return true;
    case "readonly":
      bind.ReadOnlyForceRecursive = true;
      return true;
    default:
      throw new Error(
        `invalid value for bind-recursive: ${value} (must be "enabled", "disabled", "writable", or "readonly")`,
      );
  }
}

function setVolume(mount: Draft, key: string, value: string): boolean {
  const volume = (mount.VolumeOptions ??= {});
  const [name, content = ""] = keyValue(value);
  switch (key) {
    case "volume-nocopy":
      volume.NoCopy = boolField(key, value);
      return true;
    case "volume-subpath":
      volume.Subpath = value;
      return true;
    case "volume-driver":
      volume.DriverConfig = { ...volume.DriverConfig, Name: value };
      return true;
    case "volume-label":
      volume.Labels = { ...volume.Labels, [name]: content };
      return true;
    case "volume-opt":
      volume.DriverConfig = {
        ...volume.DriverConfig,
        Options: { ...volume.DriverConfig?.Options, [name]: content },
      };
      return true;
    default:
      return false;
  }
}

function setTmpfs(mount: Draft, key: string, value: string): boolean {
  const tmpfs = (mount.TmpfsOptions ??= {});
  switch (key) {
    case "tmpfs-size":
      try {
        tmpfs.SizeBytes = parseBytes(value);
      } catch (cause) {
        throw new Error(`invalid value for ${key}: ${value}`, { cause });
      }
      return true;
    case "tmpfs-mode":
      if (!/^[0-7]{1,11}$/.test(value)) throw new Error(`invalid value for ${key}: ${value}`);
      tmpfs.Mode = Number.parseInt(value, 8);
      return true;
    default:
      return false;
  }
}

function setImage(mount: Draft, value: string): boolean {
  mount.ImageOptions = { Subpath: value };
  return true;
}

export interface VolumeOptions {
  readonly binds: string[];
  readonly volumes: Record<string, object>;
}

/** Every `--volume`: `source:target[:options]`, or a target alone for an anonymous volume. */
export function parseVolumes(texts: readonly string[]): VolumeOptions {
  const binds: string[] = [];
  const volumes: Record<string, object> = {};
  for (const text of texts) {
    if (text === "") throw invalid("invalid empty volume spec");
    const colon = text.indexOf(":");
    if (colon < 0 || text.length <= 2) {
      volumes[text] = {};
      continue;
    }
    if (text.split(":").some((part) => part === "")) {
      throw invalid(`invalid spec: ${text}: empty section between colons`);
    }
    const [source, rest] = [text.slice(0, colon), text.slice(colon + 1)];
    const relative = !isAbsolute(source) && source.startsWith(".");
    binds.push(relative ? `${resolve(source)}:${rest}` : text);
  }
  return { binds, volumes };
}

/** Every `--tmpfs`: a path, or a path and its mount options. */
export function parseTmpfs(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const colon = text.indexOf(":");
      return colon < 0 ? [text, ""] : [text.slice(0, colon), text.slice(colon + 1)];
    }),
  );
}
