/**
 * `RUN --mount=…`. Its form is looked at with the line; its values, each with the variables that it names, when the
 * step is built. Sentences are BuildKit's.
 */
import { invalid } from "#base";

import type { RunMountRequest } from "./instruction.ts";
import { suggestion } from "./suggest.ts";
import { csvFields } from "./words.ts";

type MountType = RunMountRequest["type"];

const TYPES: readonly MountType[] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const KEYS = (
  "type from source target readonly id sharing required size mode uid gid " +
  "src dst destination ro rw readwrite env"
).split(" ");
const SHARING = ["shared", "private", "locked"] as const;

/** A mount whose fields are read one after the other: what a field may say can hang on the type before it. */
interface Draft {
  type: MountType;
  from: string;
  source: string;
  target: string;
  readOnly: boolean | null;
  id: string;
  sharing: RunMountRequest["sharing"] | null;
  mode: number | null;
  uid: number | null;
  gid: number | null;
  sizeBytes: number | null;
  required: boolean;
  env: string | null;
}

const PLAIN: Draft = {
  type: "bind",
  from: "",
  source: "",
  target: "",
  readOnly: null,
  id: "",
  sharing: null,
  mode: null,
  uid: null,
  gid: null,
  sizeBytes: null,
  required: false,
  env: null,
};

/** @throws EngineError "invalid" where no value could make sense of it */
export function checkMountText(text: string): void {
  const at = fromOf(text).indexOf("$");
  if (at >= 0 && at !== fromOf(text).length - 1) {
    throw invalid("'from' doesn't support variable expansion, define alias stage instead");
  }
}

/** The stage or image that a mount names, "" for none. */
export function fromOf(text: string): string {
  const field = csvFields(text, "mounts").findLast((each) => /^from=/i.test(each));
  return field?.slice("from=".length) ?? "";
}

/** @param expand gives a value's variables their values. @throws EngineError "invalid" */
export function parseMount(
  text: string,
  expand = (value: string): string => value,
): RunMountRequest {
  const draft: Draft = { ...PLAIN };
  for (const field of csvFields(text, "mounts")) {
    const at = field.indexOf("=");
    const key = (at < 0 ? field : field.slice(0, at)).toLowerCase();
    if (at < 0) setBare(draft, key, field);
    else setField(draft, { key, value: expand(field.slice(at + 1)), field });
  }
  check(draft);
  const { readOnly, sharing, ...rest } = draft;
  const byDefault = draft.type !== "cache" && draft.type !== "tmpfs";
  return {
    ...rest,
    target: targetOf(draft),
    readOnly: readOnly ?? byDefault,
    sharing: sharing ?? "shared",
  };
}

function setBare(draft: Draft, key: string, field: string): void {
  if (key === "readonly" || key === "ro") draft.readOnly = true;
  else if (key === "readwrite" || key === "rw") draft.readOnly = false;
  else if (key === "required") {
    onlyFor(draft, key, ["secret", "ssh"]);
    draft.required = true;
  } else throw invalid(`invalid field '${field}' must be a key=value pair`);
}

function setField(
  draft: Draft,
  { key, value, field }: { key: string; value: string; field: string },
): void {
  switch (key) {
    case "type":
      draft.type = typeOf(value);
      return;
    case "from":
    case "id":
    case "env":
      draft[key] = value;
      return;
    case "source":
    case "src":
      draft.source = value;
      return;
    case "target":
    case "dst":
    case "destination":
      draft.target = value;
      return;
    case "readonly":
    case "ro":
      draft.readOnly = parseBool(key, value);
      return;
    case "readwrite":
    case "rw":
      draft.readOnly = !parseBool(key, value);
      return;
    case "required":
      onlyFor(draft, key, ["secret", "ssh"]);
      draft.required = parseBool(key, value);
      return;
    case "size":
      onlyFor(draft, key, ["tmpfs"]);
      draft.sizeBytes = sizeOf(value);
      return;
    case "sharing":
      draft.sharing = sharingOf(value);
      return;
    case "mode":
    case "uid":
    case "gid":
      draft[key] = numberOf(key, value);
      return;
    default:
      throw invalid(`unexpected key '${key}' in '${field}'${suggestion(key, KEYS)}`);
  }
}

function onlyFor({ type }: Draft, key: string, types: readonly MountType[]): void {
  if (types.includes(type)) return;
  throw invalid(`unexpected key '${key}' for mount type '${type}'`);
}

function typeOf(text: string): MountType {
  const type = TYPES.find((known) => known === text.toLowerCase());
  if (type !== undefined) return type;
  throw invalid(`unsupported mount type "${text}"${suggestion(text, TYPES)}`);
}

function sharingOf(text: string): RunMountRequest["sharing"] {
  const sharing = SHARING.find((known) => known === text.toLowerCase());
  if (sharing !== undefined) return sharing;
  throw invalid(`unsupported sharing value "${text}"${suggestion(text, SHARING)}`);
}

const ID_LIMIT = 0xffff_fffe;

function numberOf(key: "mode" | "uid" | "gid", text: string): number {
  const base = key === "mode" ? 8 : 10;
  const value = Number.parseInt(text, base);
  const isNumber = (base === 8 ? /^[0-7]+$/ : /^\d+$/).test(text);
  if (!isNumber || value > (base === 8 ? 0o7777 : ID_LIMIT)) {
    throw invalid(`invalid value ${text} for ${key}`);
  }
  return value;
}

const UNITS: Readonly<Record<string, number>> = { "": 0, b: 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

function sizeOf(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([kmgtp]?)i?b?$/i.exec(text);
  const [, digits = "", unit = ""] = match ?? [];
  if (match === null) throw invalid(`invalid value for size: ${text}`);
  return Math.trunc(Number(digits) * 1024 ** (UNITS[unit.toLowerCase()] ?? 0));
}

/** What Go reads as a boolean. @throws EngineError "invalid" */
export function parseBool(key: string, text: string): boolean {
  if (/^(?:1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(?:0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw invalid(`invalid value for ${key}: ${text}`);
}

function check(draft: Draft): void {
  const { type, sharing, from, source, target, id } = draft;
  for (const key of ["mode", "uid", "gid"] as const) {
    if (draft[key] === null || type === "secret" || type === "ssh" || type === "cache") continue;
    throw invalid(`${key} not allowed for "${type}" type mounts`);
  }
  if (type === "secret") {
    if (from !== "") throw invalid("secret mount should not have a from");
    if (sharing !== null) throw invalid("secret mount should not define sharing");
    if (source === "" && target === "" && id === "") {
      throw invalid("invalid secret mount. one of source, target required");
    }
    if (source !== "" && id !== "") throw invalid("both source and id can't be set");
  }
  if (type === "ssh" && source !== "") throw invalid("ssh does not support source");
  if (sharing !== null && type !== "cache") {
    throw invalid(`invalid cache sharing set for ${type} mount`);
  }
}

function targetOf({ type, target, source, id, env }: Draft): string {
  if (type !== "secret" || target !== "" || env !== null) return target;
  return `/run/secrets/${(source || id).split("/").at(-1) ?? ""}`;
}
