/** Files of variables and labels, and security profiles: what the client reads for the daemon. */
import { invalid, sentenceOf } from "#base";

import { readTextFile } from "../terminal/stdio.ts";

/** The lines of every file, without comments; a name alone takes its value from `lookup`, or is dropped. */
export function readKeyValueFiles(
  paths: readonly string[],
  kind: "env" | "label",
  lookup: (name: string) => string | undefined,
): string[] {
  return paths.flatMap((path) => readKeyValueFile(path, kind, lookup));
}

function readKeyValueFile(
  path: string,
  kind: "env" | "label",
  lookup: (name: string) => string | undefined,
): string[] {
  const text = readTextFile(path);
  if (text === undefined) throw unreadable(path, kind);
  const lines: string[] = [];
  for (const [index, raw] of text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    const line = raw.replace(/\r$/, "").trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const equals = line.indexOf("=");
    const name = equals < 0 ? line.trim() : line.slice(0, equals);
    const where = `invalid ${kind} file (${path})`;
    if (name === "") throw invalid(`${where}: no variable name on line '${line}'`);
    if (/\s/.test(name)) throw invalid(`${where}: variable '${name}' contains whitespaces`);
    if (line.includes("\uFFFD")) {
      throw invalid(`${where}: invalid utf8 bytes at line ${index + 1}: ${line}`);
    }
    if (equals >= 0) lines.push(line);
    else {
      const value = lookup(name);
      if (value !== undefined) lines.push(`${name}=${value}`);
      else if (kind === "label") lines.push(name);
    }
  }
  return lines;
}

function unreadable(path: string, kind: string) {
  try {
    // Only for the sentence of a failure: node:fs costs a millisecond of every start that imports it.
    if (process.getBuiltinModule("node:fs").statSync(path).isDirectory()) {
      return invalid(`invalid ${kind} file (${path}): read ${path}: is a directory`);
    }
    return invalid(`open ${path}: permission denied`);
  } catch (cause) {
    return invalid(`open ${path}: no such file or directory`, { cause });
  }
}

/** `name=value` pairs as a map; a name alone has an empty value, the last of a name wins. */
export function mapOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf("=");
      return equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}

export interface SecurityOptions {
  readonly options: string[];
  /** `systempaths=unconfined`: nothing is masked. */
  readonly unmasked: boolean;
}

/** `--security-opt`: a seccomp profile is read here and sent as its text, since the daemon may be elsewhere. */
export function parseSecurityOptions(texts: readonly string[]): SecurityOptions {
  const options: string[] = [];
  let unmasked = false;
  for (const text of texts) {
    if (text === "systempaths=unconfined") {
      unmasked = true;
      continue;
    }
    if (text === "no-new-privileges") {
      options.push(text);
      continue;
    }
    const match = /^([^=:]+)([=:])(.*)$/s.exec(text);
    if (match === null) throw invalid(`Invalid --security-opt: ${JSON.stringify(text)}`);
    const [, name = "", , value = ""] = match;
    if (name === "seccomp" && value !== "unconfined" && value !== "builtin") {
      options.push(`seccomp=${readProfile(value)}`);
    } else options.push(text);
  }
  return { options, unmasked };
}

function readProfile(path: string): string {
  const text = readTextFile(path);
  const where = `opening seccomp profile (${path}) failed`;
  if (text === undefined) throw invalid(`${where}: open ${path}: no such file or directory`);
  try {
    return JSON.stringify(JSON.parse(text));
  } catch (cause) {
    throw invalid(`compacting json for seccomp profile (${path}) failed: ${sentenceOf(cause)}`, {
      cause,
    });
  }
}
