/**
 * Both directions of `cp`. The API only knows archives and directories to put them in; what a copy means (into a
 * directory, over a file, under a new name) is decided here from what source and target are, as Docker's CLI does.
 */
import { lstatSync, realpathSync, statSync, type Stats } from "node:fs";
import { resolve } from "node:path";

import { humanSize, invalid } from "#base";
import {
  type ApiClient,
  type ApiResponse,
  readContainerArchive,
  statContainerPath,
  writeContainerArchive,
} from "#clients/api-client";
import { FileDescriptor, O_DIRECTORY, O_PATH, O_RDONLY, openPath } from "#linux/path";
import { entryTar, treeTar, TreeWriter } from "#linux/tree";
import { rawOf, type TarHeader, TarParser } from "#wire/tar";

import { STDERR, STDOUT, writeAll } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";

export interface CopyOptions {
  readonly followLink: boolean;
  readonly copyOwner: boolean;
  readonly quiet: boolean;
}

interface Place {
  readonly container: string;
  readonly path: string;
}

/** What stands at one end of a copy. */
interface End {
  /** Absolute, with the slash or dot at its end that was asked for. */
  readonly path: string;
  readonly exists: boolean;
  readonly isDirectory: boolean;
}

/** Go's FileMode. */
const GO_DIRECTORY = 2 ** 31;
const GO_LINK = 2 ** 27;
const has = (mode: number, bit: number): boolean => Math.floor(mode / bit) % 2 === 1;

export async function copyFrom(
  client: ApiClient,
  { container, path }: Place,
  target: string,
  { followLink, quiet }: CopyOptions,
): Promise<void> {
  let source = path;
  if (followLink) {
    const link = await statContainerPath(client, container, path);
    if (has(link.mode, GO_LINK)) source = link.linkTarget;
  }
  const { stat, tar } = await readContainerArchive(client, container, source);
  if (target === "-") return await pour(tar);
  const local = absolute(target);
  const end = localEnd(local);
  // A link that was followed keeps the name it was asked by.
  const from: End = { path, exists: true, isDirectory: has(stat.mode, GO_DIRECTORY) };
  const { directory, name } = destination(from, end);
  const base = baseOf(source);
  const bytes = await unpack(tar, { directory, base: base === "/" ? "" : base, name });
  tell(quiet, bytes, local);
}

async function pour(tar: ApiResponse): Promise<void> {
  for (let chunk = await tar.read(); chunk; chunk = await tar.read()) writeAll(STDOUT, chunk);
}

/** Writes an archive below a local directory, its first name replaced. @returns its size */
async function unpack(
  tar: ApiResponse,
  { directory, base, name }: { directory: string; base: string; name: string },
): Promise<number> {
  using root = new FileDescriptor(openPath("/", O_PATH | O_DIRECTORY));
  // As Docker's CLI: what arrives belongs to whoever copies it.
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  using writer = new TreeWriter({ rootFd: root.fd, path: directory, keepKinds: true, owner });
  const [old, fresh] = [rawOf(base), rawOf(name)];
  const renamed = (raw: string) => (raw.startsWith(old) ? fresh + raw.slice(old.length) : raw);
  const parser = new TarParser({
    entry: (header: TarHeader) =>
      writer.entry({
        ...header,
        rawName: renamed(header.rawName),
        rawLink: header.type === "hardlink" ? renamed(header.rawLink) : header.rawLink,
      }),
    data: (bytes) => writer.data(bytes),
  });
  let size = 0;
  for (let chunk = await tar.read(); chunk; chunk = await tar.read()) {
    size += chunk.length;
    parser.push(chunk);
  }
  parser.end();
  writer.end();
  return size;
}

export async function copyTo(
  client: ApiClient,
  source: string,
  { container, path }: Place,
  { followLink, copyOwner, quiet }: CopyOptions,
): Promise<void> {
  const end = await remoteEnd(client, container, path);
  const counted = { bytes: 0 };
  if (source === "-") {
    if (!end.isDirectory) {
      throw invalid(`destination "${container}:${path}" must be a directory`);
    }
    const archive = count(Bun.stdin.stream(), counted);
    await writeContainerArchive(client, container, { path: end.path, archive, copyOwner });
  } else {
    const local = absolute(source);
    const resolved = followLink ? keptEnding(local, realpathSync(local)) : local;
    const stat = lookAt(resolved);
    const from: End = { path: local, exists: true, isDirectory: stat.isDirectory() };
    const { directory, name } = destination(from, end);
    const archive = count(packed(resolved, stat.isDirectory(), name), counted);
    await writeContainerArchive(client, container, { path: directory, archive, copyOwner });
  }
  tell(quiet, counted.bytes, `${container}:${end.path}`);
}

function lookAt(path: string): Stats {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat) return stat;
  throw invalid(`lstat ${path}: no such file or directory`);
}

/** A link at the target is followed; what cannot be looked at may still be made. */
async function remoteEnd(client: ApiClient, container: string, path: string): Promise<End> {
  try {
    let at = path;
    let stat = await statContainerPath(client, container, at);
    if (has(stat.mode, GO_LINK)) {
      at = stat.linkTarget;
      stat = await statContainerPath(client, container, at);
    }
    return { path: at, exists: true, isDirectory: has(stat.mode, GO_DIRECTORY) };
  } catch {
    return { path, exists: false, isDirectory: false };
  }
}

function localEnd(path: string): End {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat) {
    const isDirectory = stat.isDirectory();
    return { path: isDirectory ? path : realpathSync(path), exists: true, isDirectory };
  }
  const parent = parentOf(path);
  if (statSync(parent, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw invalid(`invalid output path: directory "${parent}" does not exist`);
  }
  return { path, exists: false, isDirectory: false };
}

/** The directory to write to, and what the archive's first name becomes. @throws EngineError "invalid" */
function destination(from: End, to: End): { directory: string; name: string } {
  // `dir/.` means what is in it.
  const own = baseOf(from.path);
  if (to.exists && to.isDirectory) return { directory: to.path, name: own === "/" ? "" : own };
  if (to.exists && from.isDirectory) throw invalid("cannot copy directory");
  if (!to.exists && !from.isDirectory && /\/\.?$/.test(to.path)) {
    throw invalid("no such directory");
  }
  return { directory: parentOf(to.path), name: baseOf(to.path.replace(/\/\.?$/, "")) };
}

/** The tar of a local file or directory under a name. */
function* packed(path: string, isDirectory: boolean, name: string): Generator<Uint8Array> {
  const as = rawOf(name);
  if (isDirectory) {
    using opened = new FileDescriptor(openPath(path, O_RDONLY | O_DIRECTORY));
    const prefix = as === "" ? "./" : `${as}/`;
    yield* treeTar({ fd: opened.fd, prefix, self: prefix, sparse: true });
    return;
  }
  using parent = new FileDescriptor(openPath(parentOf(path), O_PATH | O_DIRECTORY));
  yield* entryTar({ parentFd: parent.fd, name: Buffer.from(baseOf(path)), as, sparse: true });
}

async function* count(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  counted: { bytes: number },
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    counted.bytes += piece.length;
    yield piece;
  }
}

function tell(quiet: boolean, bytes: number, target: string): void {
  if (quiet || !isTerminal(STDOUT)) return;
  writeAll(STDERR, `Successfully copied ${humanSize(bytes, 3)} to ${target}\n`);
}

const absolute = (path: string): string => keptEnding(path, resolve(path));

/** A path with the slash or dot at its end that another has. */
function keptEnding(asked: string, path: string): string {
  if (path === "/") return path;
  if (asked === "." || asked.endsWith("/.")) return path.endsWith("/.") ? path : `${path}/.`;
  return asked.endsWith("/") && !path.endsWith("/") ? `${path}/` : path;
}

/** Go's filepath.Base: "/" of the root, "." of `dir/.`. */
function baseOf(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed === "" ? "/" : trimmed.slice(trimmed.lastIndexOf("/") + 1);
}

function parentOf(path: string): string {
  const trimmed = path.replace(/\/\.$/, "").replace(/\/+$/, "");
  return trimmed.slice(0, trimmed.lastIndexOf("/")) || "/";
}
