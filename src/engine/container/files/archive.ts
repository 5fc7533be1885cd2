/** `docker cp` and `docker export`: a container's files as a tar, and a tar into them. */
import { invalid, sentenceOf } from "#base";
import { hostIdOf } from "#engine/runtime";
import { SyscallError } from "#linux/ffi";
import { asFileOwner } from "#linux/mount";
import {
  FileDescriptor,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openInRoot,
  openPath,
  S_IFDIR,
  statFd,
} from "#linux/path";
import { entryTar, type Owners, treeTar, TreeWriter } from "#linux/tree";
import { plainArchive, rawOf, TarParser } from "#wire/tar";

import type { ExtractRequest, PathStat } from "../container-service.ts";
import type { Context } from "../context.ts";
import { publishEvent } from "../happenings.ts";
import { isReadOnly, ownerOf } from "./facts.ts";
import { insideOwners, outsideOwners } from "./owners.ts";
import { type AskedPath, parseAskedPath, pathStatIn, statIn, withWords } from "./lookup.ts";
import { piecesStream } from "./pieces.ts";
import { unstalled } from "./stall.ts";
import { type FilesView, openFiles } from "./view.ts";

/** @throws EngineError "notFound": `Could not find the file …` */
export async function statPathOf(
  context: Context,
  nameOrId: string,
  path: string,
): Promise<PathStat> {
  const asked = parseAskedPath(path);
  using view = await openFiles(context, nameOrId);
  return pathStatIn(view, asked);
}

/** The tar of one file or directory of a container. Reading it to its end, or cancelling it, closes everything. */
export async function readArchiveOf(
  context: Context,
  nameOrId: string,
  path: string,
): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }> {
  const asked = parseAskedPath(path);
  const view = await openFiles(context, nameOrId);
  try {
    const stat = pathStatIn(view, asked);
    const tar = piecesStream(archivePieces(view, asked), view);
    publishEvent(context, view.record, "archive-path");
    return { stat, tar };
  } catch (error) {
    view[Symbol.dispose]();
    throw error;
  }
}

function* archivePieces(view: FilesView, asked: AskedPath): Generator<Uint8Array, void, void> {
  const { rootFd } = view;
  if (isType(statIn(view, asked).mode, S_IFDIR)) {
    using directory = withWords(view, asked, () => openDirectory(rootFd, asked));
    const name = rawOf(asked.base);
    // Names below the root begin with a slash: clients replace it with the name they want.
    const prefix = asked.base === "/" ? "/" : `${name}/`;
    yield* treeTar({ fd: directory.fd, prefix, self: prefix, sparse: true, ...ownersOf(view) });
    return;
  }
  const { parent, base } = asked;
  const parentPath = asked.follows
    ? asked.path.replace(/\/\.?$/, "").replace(/[^/]*$/, "")
    : parent;
  using directory = withWords(
    view,
    asked,
    () => new FileDescriptor(openInRoot({ rootFd, path: parentPath, flags: O_PATH | O_DIRECTORY })),
  );
  yield* entryTar({
    parentFd: directory.fd,
    name: Buffer.from(base),
    as: rawOf(base),
    sparse: true,
    ...ownersOf(view),
  });
}

function openDirectory(rootFd: number, asked: AskedPath): FileDescriptor {
  const flags = O_RDONLY | O_DIRECTORY | (asked.follows ? 0 : O_NOFOLLOW);
  return new FileDescriptor(openInRoot({ rootFd, path: asked.path, flags }));
}

/** Everything but what is mounted, as Docker's export. */
export async function exportOf(
  context: Context,
  nameOrId: string,
): Promise<ReadableStream<Uint8Array>> {
  const view = await openFiles(context, nameOrId);
  try {
    const pieces = exportPieces(view);
    publishEvent(context, view.record, "export");
    return piecesStream(pieces, view);
  } catch (error) {
    view[Symbol.dispose]();
    throw error;
  }
}

const ownersOf = ({ maps }: FilesView): { owners?: Owners } =>
  maps === null ? {} : { owners: insideOwners(maps) };

function* exportPieces(view: FilesView): Generator<Uint8Array, void, void> {
  using root = new FileDescriptor(openPath(".", O_RDONLY | O_DIRECTORY, 0, view.rootFd));
  yield* treeTar({ fd: root.fd, prefix: "", sparse: true, oneMount: true, ...ownersOf(view) });
}

/** Bytes of an archive that are written between two breaths for everyone else. */
const BREATH_BYTES = 1024 * 1024;

/** Writes an archive into a directory of a container. What was written before a failure stays, as with Docker. */
export async function extractInto(
  context: Context,
  nameOrId: string,
  request: ExtractRequest,
): Promise<void> {
  const asked = parseAskedPath(request.path);
  using view = await openFiles(context, nameOrId);
  const { rootFd } = view;
  checkTarget(view, asked);
  const owner = request.copyOwner ? ownerOf(view) : null;
  const { keepKinds } = request;
  const { maps } = view;
  const owners = maps === null ? {} : { owners: outsideOwners(maps) };
  using writer = new TreeWriter({ rootFd, path: asked.path, keepKinds, owner, ...owners });
  // The layer that is written to stores no ids but the container's.
  const asContainer = (work: () => void) =>
    maps === null
      ? work()
      : asFileOwner({ uid: hostIdOf(maps.uids, 0), gid: hostIdOf(maps.gids, 0) }, work);
  const parser = new TarParser(writer);
  let sinceBreath = 0;
  const stream = await plainArchive(request.archive);
  try {
    for await (const bytes of unstalled(stream, view)) {
      request.signal.throwIfAborted();
      asContainer(() => parser.push(bytes));
      sinceBreath += bytes.length;
      if (sinceBreath < BREATH_BYTES) continue;
      sinceBreath = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    asContainer(() => {
      parser.end();
      writer.end();
    });
  } catch (error) {
    throw asEngineError(error);
  }
  publishEvent(context, view.record, "extract-to-dir");
}

/** What the archive asks for and this place cannot have is the request's fault, not the engine's. */
function asEngineError(error: unknown): unknown {
  if (!(error instanceof SyscallError)) return error;
  const isRefusal = ["EROFS", "EPERM", "EACCES", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EXDEV"];
  if (isRefusal.includes(error.code) || error.code === "ENOENT") {
    return invalid(sentenceOf(error), { cause: error });
  }
  return error;
}

/** @throws EngineError "invalid" in Docker's words when it is no directory, or nothing can be written there */
function checkTarget(view: FilesView, asked: AskedPath): void {
  const { rootFd } = view;
  using target = withWords(
    view,
    asked,
    () =>
      new FileDescriptor(
        openInRoot({ rootFd, path: asked.path.replace(/(.)\/\.?$/, "$1"), flags: O_PATH }),
      ),
  );
  const stat = statFd(target.fd);
  if (!isType(stat.mode, S_IFDIR)) throw invalid("extraction point is not a directory");
  if (!isReadOnly(target.fd)) return;
  const isRoot = stat.mountId === statFd(rootFd).mountId;
  throw invalid(
    isRoot ? "container rootfs is marked read-only" : "mounted volume is marked read-only",
  );
}
