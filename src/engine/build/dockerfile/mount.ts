/** `RUN --mount=…`, its variables expanded by now. Sentences are BuildKit's. */
import { invalid } from "#base";

import type { RunMountRequest } from "./instruction.ts";
import { suggestion } from "./suggest.ts";

type MountType = RunMountRequest["type"];

const TYPES: readonly MountType[] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const KEYS = "type from source target readonly id sharing required size mode uid gid env".split(
  " ",
);
const SHARING = ["shared", "private", "locked"] as const;

const ALIASES: Readonly<Record<string, string>> = {
  src: "source",
  dst: "target",
  destination: "target",
  ro: "readonly",
  rw: "readwrite",
};

/** @throws EngineError "invalid" */
export function parseMount(text: string): RunMountRequest {
  const fields = readFields(text);
  const type = typeOf(fields.get("type"));
  const readOnly = readOnlyOf(type, fields);
  const mount: RunMountRequest = {
    type,
    from: fields.get("from") ?? "",
    source: fields.get("source") ?? "",
    target: targetOf(type, fields),
    readOnly,
    id: fields.get("id") ?? "",
    sharing: sharingOf(type, fields.get("sharing")),
    mode: numberOf("mode", fields.get("mode"), 8),
    uid: numberOf("uid", fields.get("uid"), 10),
    gid: numberOf("gid", fields.get("gid"), 10),
    sizeBytes: sizeOf(type, fields.get("size")),
    required: truth("required", fields.get("required"), false),
    env: fields.get("env") ?? null,
  };
  check(mount, fields);
  return mount;
}

/** A line of CSV with `key=value` fields. */
function readFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const field of csvFields(text)) {
    const at = field.indexOf("=");
    const given = (at < 0 ? field : field.slice(0, at)).toLowerCase();
    const key = ALIASES[given] ?? given;
    if (at < 0) {
      if (!["readonly", "readwrite", "required"].includes(key)) {
        throw invalid(`invalid field '${field}' must be a key=value pair`);
      }
      fields.set(key, "true");
      continue;
    }
    if (!KEYS.includes(key) && key !== "readwrite") {
      throw invalid(`unexpected key '${given}' in '${field}'${suggestion(given, KEYS)}`);
    }
    fields.set(key, field.slice(at + 1));
  }
  return fields;
}

function csvFields(text: string): string[] {
  const fields: string[] = [];
  const pattern = /(?:"((?:[^"]|"")*)"|([^,]*))(,|$)/gy;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
    if (match[3] === "") return fields;
  }
  throw invalid("failed to parse csv mounts");
}

function typeOf(text: string | undefined): MountType {
  if (text === undefined) return "bind";
  const type = TYPES.find((known) => known === text.toLowerCase());
  if (type === undefined) {
    throw invalid(`unsupported mount type "${text}"${suggestion(text, TYPES)}`);
  }
  return type;
}

function readOnlyOf(type: MountType, fields: ReadonlyMap<string, string>): boolean {
  const byDefault = type === "bind" || type === "secret" || type === "ssh";
  if (fields.has("readwrite")) return !truth("readwrite", fields.get("readwrite"), true);
  return truth("readonly", fields.get("readonly"), byDefault);
}

function targetOf(type: MountType, fields: ReadonlyMap<string, string>): string {
  const target = fields.get("target") ?? "";
  if (target !== "" || type === "ssh") return target;
  if (type !== "secret") throw invalid("target is required");
  const id = fields.get("id") ?? baseName(fields.get("source") ?? "");
  if (id === "") throw invalid("one of source, target required");
  return fields.has("env") ? "" : `/run/secrets/${id}`;
}

const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

function sharingOf(type: MountType, text: string | undefined): RunMountRequest["sharing"] {
  if (text === undefined) return "shared";
  if (type !== "cache") throw invalid(`invalid cache sharing set for ${type} mount`);
  const sharing = SHARING.find((known) => known === text.toLowerCase());
  if (sharing === undefined) {
    throw invalid(`unsupported sharing value "${text}"${suggestion(text, SHARING)}`);
  }
  return sharing;
}

function numberOf(key: string, text: string | undefined, base: 8 | 10): number | null {
  if (text === undefined) return null;
  const digits = base === 8 ? /^0?[0-7]{1,5}$/ : /^\d{1,10}$/;
  const value = Number.parseInt(text, base);
  if (!digits.test(text) || value > (base === 8 ? 0o7777 : 0xffff_fffe)) {
    throw invalid(`invalid value for ${key}: ${text}`);
  }
  return value;
}

const UNITS: Readonly<Record<string, number>> = { "": 0, b: 0, k: 1, m: 2, g: 3, t: 4 };

function sizeOf(type: MountType, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (type !== "tmpfs") throw invalid(`unexpected key 'size' for mount type '${type}'`);
  const match = /^(\d{1,15})([bkmgt]?)(?:i?b)?$/i.exec(text);
  if (match === null) throw invalid(`invalid value for size: ${text}`);
  return Number(match[1]) * 1024 ** (UNITS[(match[2] ?? "").toLowerCase()] ?? 0);
}

function truth(key: string, text: string | undefined, byDefault: boolean): boolean {
  if (text === undefined) return byDefault;
  if (["1", "t", "true"].includes(text.toLowerCase())) return true;
  if (["0", "f", "false"].includes(text.toLowerCase())) return false;
  throw invalid(`invalid value for ${key}: ${text}`);
}

function check(mount: RunMountRequest, fields: ReadonlyMap<string, string>): void {
  const { type } = mount;
  if (type === "tmpfs" && fields.has("from")) throw invalid("tmpfs mount should not have a from");
  if ((type === "secret" || type === "ssh") && mount.from !== "") {
    throw invalid(`${type} mount should not have a from`);
  }
  if (mount.env !== null && type !== "secret") {
    throw invalid(`unexpected key 'env' for mount type '${type}'`);
  }
  if (mount.required && type !== "secret" && type !== "ssh") {
    throw invalid(`unexpected key 'required' for mount type '${type}'`);
  }
}
