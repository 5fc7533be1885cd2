/**
 * Checkpoints as folders.
 *
 *   <data-root>/containers/<id>/checkpoints/<name>/   one checkpoint: criu's images, and `naru.json` beside them
 *     .making                                         as long as it is written, and locked by who writes
 *   <data-root>/containers/<id>/checkpoints/.<name>   the path of one that is being made in a folder of a person's
 *
 * A folder is a checkpoint when it has `naru.json` and no `.making`: both change at once. What a crash left half-made,
 * or half-removed, is known by that.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";

import { conflict, invalid, notFound } from "#base";
import { attempt } from "#linux/ffi";

import { ALLOWED_NAME, isAllowedName } from "./names.ts";
import { namesIn } from "./read-if-there.ts";

const MAKING = ".making";
const MANIFEST = "naru.json";
/** What criu writes when everything else is there. */
const LAST_WRITTEN = "stats-dump";
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOOK_MS = 50;
const FOLDER_MODE = 0o700;

/** Where checkpoints of a container lie, and what it is called in sentences. */
export interface CheckpointPlace {
  /** The container's own folder of checkpoints. */
  readonly own: string;
  /** A folder of a person's instead; "" for none. */
  readonly directory: string;
  /** As the request names the container. */
  readonly container: string;
}

/** One that is being made. */
export interface Making {
  readonly images: string;
  readonly lock: string;
}

/** @throws EngineError "invalid" in Docker's words */
export function checkCheckpointName(name: string): void {
  if (isAllowedName(name)) return;
  throw invalid(`Invalid checkpoint ID (${name}), only ${ALLOWED_NAME} are allowed`);
}

const folderOf = ({ own, directory }: CheckpointPlace): string => {
  if (directory.includes("\0")) throw invalid("invalid checkpoint directory");
  return directory === "" ? own : resolve("/", directory);
};

/** Makes a folder, which is no checkpoint yet. @throws EngineError "conflict" in Docker's words where there is one */
export function beginCheckpoint(place: CheckpointPlace, name: string): Making {
  const images = join(folderOf(place), name);
  const { own, directory, container } = place;
  const found = statSync(images, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) {
    throw conflict(`checkpoint with name ${name} already exists for container ${container}`);
  }
  if (found !== undefined) throw conflict(`${images} exists and is not a directory`);
  mkdirSync(own, { recursive: true, mode: FOLDER_MODE });
  if (directory !== "") writeFileSync(join(own, `.${name}`), images, { mode: 0o600 });
  const lock = join(images, MAKING);
  try {
    mkdirSync(folderOf(place), { recursive: true, mode: FOLDER_MODE });
    mkdirSync(images, { mode: FOLDER_MODE });
    writeFileSync(lock, "", { mode: 0o600 });
  } catch (cause) {
    // A full disk: what was made is still empty.
    tryRemoveEmpty(images);
    rmSync(join(own, `.${name}`), { force: true });
    throw cause;
  }
  return { images, lock };
}

/**
 * The end of the making, whoever sees it: a checkpoint if it was written to its end, nothing otherwise.
 * @param signal aborted: the writer is not waited for
 * @returns whether there is a checkpoint
 */
export async function settleCheckpoint(
  place: CheckpointPlace,
  name: string,
  { images }: Pick<Making, "images">,
  signal?: AbortSignal,
): Promise<boolean> {
  await unlocked(join(images, MAKING), signal);
  const isWhole = [LAST_WRITTEN, MANIFEST].every((file) => existsSync(join(images, file)));
  if (isWhole) rmSync(join(images, MAKING), { force: true });
  else removeFolder(images);
  rmSync(join(place.own, `.${name}`), { force: true });
  return isWhole;
}

/** Waits for a writer that goes on without us: criu, when the daemon or the supervisor died. */
async function unlocked(path: string, signal?: AbortSignal): Promise<void> {
  for (;;) {
    if (signal?.aborted === true || !existsSync(path)) return;
    const fd = openSync(path, "r+");
    const isFree = attempt("flock", fd, LOCK_EX | LOCK_NB) >= 0;
    closeSync(fd);
    if (isFree) return;
    await Bun.sleep(LOOK_MS);
  }
}

/** Names in order. @throws EngineError "notFound" for a folder of a person's that is not there */
export function listCheckpoints(place: CheckpointPlace): string[] {
  const folder = folderOf(place);
  const isOwn = place.directory === "";
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found === undefined && isOwn) return [];
  if (found === undefined) {
    throw notFound(`checkpoint  does not exist for container ${place.container}`);
  }
  if (!found.isDirectory()) throw invalid(`${folder} exists and is not a directory`);
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .filter((name) => (isOwn ? isCheckpoint(join(folder, name)) : !isMaking(join(folder, name))))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** The folder of a checkpoint. @throws EngineError "notFound" in Docker's words */
export function findCheckpoint(place: CheckpointPlace, name: string): string {
  const images = join(folderOf(place), name);
  if (isAllowedName(name) && isCheckpoint(images)) return images;
  throw notFound(`checkpoint ${name} does not exist for container ${place.container}`);
}

/** @throws EngineError "notFound" */
export const removeCheckpoint = (place: CheckpointPlace, name: string): void =>
  removeFolder(findCheckpoint(place, name));

/** What a crash has left in a container's own folder. Each may have a writer still. */
export function interruptedCheckpoints(own: string): { name: string; images: string }[] {
  return namesIn(own).flatMap((entry) => {
    const path = join(own, entry);
    if (!entry.startsWith(".")) return isCheckpoint(path) ? [] : [{ name: entry, images: path }];
    const images = readFileSync(path, "utf8");
    if (isMaking(images)) return [{ name: entry.slice(1), images }];
    // Before it was marked: what is in a person's folder is ours only if it is empty.
    tryRemoveEmpty(images);
    rmSync(path, { force: true });
    return [];
  });
}

const isMaking = (folder: string): boolean => existsSync(join(folder, MAKING));
const isCheckpoint = (folder: string): boolean =>
  existsSync(join(folder, MANIFEST)) && !isMaking(folder);

/** What makes it a checkpoint goes first: half-removed it is none. */
function removeFolder(images: string): void {
  rmSync(join(images, MANIFEST), { force: true });
  rmSync(images, { recursive: true, force: true });
}

function tryRemoveEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Gone, or somebody else's by now.
  }
}
