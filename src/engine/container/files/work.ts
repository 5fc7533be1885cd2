/** A container's files as a tar, and a tar into them: the work itself, in the process that it is done in. */
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

import type { ExtractRequest } from "../container-service.ts";
import { isReadOnly, ownerOf } from "./facts.ts";
import { type AskedPath, statIn, withWords } from "./lookup.ts";
import { insideOwners, outsideOwners } from "./owners.ts";
import { unstalled } from "./stall.ts";
import type { Files } from "./view.ts";

/** The tar of one file or directory. */
export function* archivePieces(view: Files, asked: AskedPath): Generator<Uint8Array, void, void> {
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

const ownersOf = ({ maps }: Files): { owners?: Owners } =>
  maps === null ? {} : { owners: insideOwners(maps) };

/** Everything but what is mounted, as Docker's export. */
export function* exportPieces(view: Files): Generator<Uint8Array, void, void> {
  using root = new FileDescriptor(openPath(".", O_RDONLY | O_DIRECTORY, 0, view.rootFd));
  yield* treeTar({ fd: root.fd, prefix: "", sparse: true, oneMount: true, ...ownersOf(view) });
}

/** Bytes of an archive that are written between two breaths for everyone else. */
const BREATH_BYTES = 1024 * 1024;

/** Writes an archive into a directory. What was written before a failure stays, as with Docker. */
export async function extractHere(
  view: Files,
  asked: AskedPath,
  request: Omit<ExtractRequest, "path">,
): Promise<void> {
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
}

/** What the archive asks for and this place cannot have is the request's fault, not the engine's. */
function asEngineError(error: unknown): unknown {
  if (!(error instanceof SyscallError)) return error;
  const isRefusal = [
    "EBUSY",
    "EROFS",
    "EPERM",
    "EACCES",
    "ENOTDIR",
    "ELOOP",
    "ENAMETOOLONG",
    "EXDEV",
  ];
  if (isRefusal.includes(error.code) || error.code === "ENOENT") {
    return invalid(sentenceOf(error), { cause: error });
  }
  return error;
}

/** @throws EngineError "invalid" in Docker's words when it is no directory, or nothing can be written there */
function checkTarget(view: Files, asked: AskedPath): void {
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
