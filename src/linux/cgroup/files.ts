/**
 * The control files of cgroupfs: tiny, read and written whole, and failing with meanings of their own.
 * A write to a busy hierarchy is answered with EBUSY or EINTR now and then; both are tried again, boundedly.
 */
import { readdirSync, readFileSync, rmdirSync } from "node:fs";

import { attempt, cstring, errnoNumbers, SyscallError } from "#linux/ffi";

const AT_FDCWD = -100;
const O_WRONLY = 1;
const O_CLOEXEC = 0o2000000;
const WRITE_ATTEMPTS = 8;

const encoder = new TextEncoder();

/** Writes a control file. @returns 0, or the negative error number */
export function tryWriteControl(path: string, text: string): number {
  const file = attempt("openat", AT_FDCWD, cstring(path), O_WRONLY | O_CLOEXEC, 0);
  if (file < 0) return file;
  const bytes = encoder.encode(text);
  let result = 0;
  for (let tries = 0; tries < WRITE_ATTEMPTS; tries += 1) {
    result = attempt("write", file, bytes, bytes.length);
    if (result !== -errnoNumbers.EINTR) break;
  }
  attempt("close", file);
  return Math.min(result, 0);
}

/** Writes a control file that must take the value. @throws SyscallError whose subject is the path and the value */
export function writeControl(path: string, text: string): void {
  const result = tryWriteControl(path, text);
  if (result < 0) throw new SyscallError("write", `${path} (${text})`, -result);
}

/** A control file's text without its last newline; null when the file or its folder is not there (any more). */
export function readControl(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENODEV" || code === "EOPNOTSUPP") return null;
    throw thrown;
  }
}

/** A control file that holds one number; "max" is Infinity; null when it is not there. */
export function readControlNumber(path: string): number | null {
  const text = readControl(path);
  if (text === null || text === "") return null;
  return text === "max" ? Number.POSITIVE_INFINITY : Number(text);
}

/** A flat keyed file (`oom_kill 2`), as a map; empty when it is not there. */
export function readControlKeys(path: string): ReadonlyMap<string, number> {
  const keys = new Map<string, number>();
  for (const line of (readControl(path) ?? "").split("\n")) {
    const [key = "", value = ""] = line.split(" ");
    if (key !== "") keys.set(key, Number(value));
  }
  return keys;
}

/** The names of the child folders; empty when the folder is not there. */
export function listFolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENODEV") return [];
    throw thrown;
  }
}

/**
 * Removes a folder and those below it, deepest first.
 * @returns false while a process (or its zombie) still holds one of them
 */
export function removeFolders(folder: string): boolean {
  let empty = true;
  for (const name of listFolders(folder)) empty = removeFolders(`${folder}/${name}`) && empty;
  try {
    rmdirSync(folder);
    return empty;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "ENOENT") return empty;
    if (code === "EBUSY" || code === "ENOTEMPTY") return false;
    throw thrown;
  }
}
