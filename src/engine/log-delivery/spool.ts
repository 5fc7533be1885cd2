/**
 * A log on its way to a server, on disk:
 *
 *   <folder>/container-cached.log*   the entries, kept for `docker logs` too
 *   <folder>/job.json                where they go; there until everything is delivered
 *   <folder>/place.json              how far delivery came; behind by a moment after a crash: then a few go twice
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import type { LogPlace } from "#engine/logs";

import type { DeliveryJob } from "./messages.ts";
import { spoolPath } from "./target.ts";

const FOLDER_MODE = 0o710;
const FILE_MODE = 0o600;

export const hasJob = (folder: string): boolean =>
  statSync(join(folder, "job.json"), { throwIfNoEntry: false }) !== undefined;

export function writeJob(job: DeliveryJob): void {
  mkdirSync(job.folder, { recursive: true, mode: FOLDER_MODE });
  replace(join(job.folder, "job.json"), job);
}

export const removeJob = (folder: string): void =>
  rmSync(join(folder, "job.json"), { force: true });

/** The beginning where nothing was delivered. */
export const readPlace = (folder: string): LogPlace =>
  (readJson(join(folder, "place.json")) as LogPlace | null) ?? { inode: 0, offset: 0, time: "" };

export const writePlace = (folder: string, place: LogPlace): void =>
  replace(join(folder, "place.json"), place);

/** Every delivery under `root` that is not complete. */
export function listJobs(root: string): DeliveryJob[] {
  let names: string[];
  try {
    names = readdirSync(root);
  } catch {
    return []; // no container had a log server yet
  }
  return names.flatMap((name) => {
    const job = readJson(join(root, name, "job.json")) as DeliveryJob | null;
    return job === null ? [] : [{ ...job, folder: join(root, name) }];
  });
}

/** Bytes written after a place: about, while the log rotates. */
export function bytesAfter(folder: string, place: LogPlace): number {
  let bytes = 0;
  const path = spoolPath(folder);
  for (let number = 0; ; number += 1) {
    const stat = statSync(number === 0 ? path : `${path}.${number}`, { throwIfNoEntry: false });
    if (stat === undefined) return bytes;
    if (stat.ino === place.inode) return bytes + stat.size - place.offset;
    bytes += stat.size;
  }
}

function replace(path: string, value: unknown): void {
  writeFileSync(`${path}.tmp`, JSON.stringify(value), { mode: FILE_MODE });
  renameSync(`${path}.tmp`, path);
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
}
