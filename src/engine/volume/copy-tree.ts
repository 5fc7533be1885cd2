/**
 * Copies a folder of an image into a volume: contents, owners, modes, times, attributes, links and devices. The
 * source is a read-only view nobody else can change, so names read from it still mean the same when used. The
 * target may be in a running container's hands, which swaps folders for links while we write: every name is used
 * below an open descriptor, and none is followed.
 */
import {
  chmodSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lstatSync,
  lutimesSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  type Stats,
} from "node:fs";
import { copyFile } from "node:fs/promises";

import { invalid } from "#base";
import { checked, cstring } from "#linux/ffi";
import {
  FileDescriptor,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openPath,
  S_IFREG,
  statFd,
} from "#linux/path";
import { getXattr, listXattrs, setXattr } from "#linux/xattr";

const SEPARATOR = Buffer.from("/");
/** Entries between two breaths for everyone else. */
const BREATH_ENTRIES = 64;
/** Each level holds a descriptor: no image needs more, and a hostile one gets no more. */
const DEPTH_LIMIT = 256;

const viaDescriptor = (fd: number, name: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);

/**
 * @param sourceFd a descriptor (O_PATH) of the folder
 * @param targetFd one (O_RDONLY) of the empty folder to fill
 * @throws SyscallError; EngineError "invalid" for a tree that is too deep
 */
export async function copyTree(sourceFd: number, targetFd: number): Promise<void> {
  const top = Buffer.from(`/proc/self/fd/${sourceFd}/.`);
  let sinceBreath = 0;
  const copyFolder = async (source: Buffer, folderFd: number, depth: number): Promise<void> => {
    if (depth > DEPTH_LIMIT) throw invalid("the image's folder is too deep to fill a volume with");
    for (const name of readdirSync(source, { encoding: "buffer" })) {
      const from = Buffer.concat([source, SEPARATOR, name]);
      const stat = lstatSync(from);
      if (stat.isDirectory()) {
        checked("mkdirat", "a folder", folderFd, cstring(name), 0o700);
        using child = new FileDescriptor(
          openPath(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, folderFd),
        );
        await copyFolder(from, child.fd, depth + 1);
        copyAttributes(from, child.fd, stat);
      } else await copyLeaf(from, { folderFd, name, stat });
      sinceBreath += 1;
      if (sinceBreath % BREATH_ENTRIES === 0) await Bun.sleep(0);
    }
  };
  await copyFolder(top, targetFd, 0);
  copyAttributes(top, targetFd, lstatSync(top));
}

interface Leaf {
  readonly folderFd: number;
  readonly name: Buffer;
  readonly stat: Stats;
}

async function copyLeaf(from: Buffer, { folderFd, name, stat }: Leaf): Promise<void> {
  const to = viaDescriptor(folderFd, name);
  if (stat.isFile()) {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    // Looked at before it is opened: opening a device that was put there instead would have effects.
    using found = new FileDescriptor(openPath(name, O_PATH | O_NOFOLLOW, 0, folderFd));
    if (!isType(statFd(found.fd).mode, S_IFREG)) return;
    using file = new FileDescriptor(openPath(`/proc/self/fd/${found.fd}`, O_RDONLY));
    copyAttributes(from, file.fd, stat);
    return;
  }
  if (stat.isSymbolicLink()) symlinkSync(readlinkSync(from, { encoding: "buffer" }), to);
  else {
    const device = BigInt(stat.rdev);
    checked("mknodat", "a special file", folderFd, cstring(name), stat.mode, device);
    using found = new FileDescriptor(openPath(name, O_PATH | O_NOFOLLOW, 0, folderFd));
    if (statFd(found.fd).mode >> 12 === stat.mode >> 12) {
      chmodSync(`/proc/self/fd/${found.fd}`, stat.mode & 0o7777);
    }
  }
  lchownSync(to, stat.uid, stat.gid);
  lutimesSync(to, stat.atime, stat.mtime);
}

/** Owner first: changing it takes away set-user-id bits and file capabilities. */
function copyAttributes(from: Buffer, fd: number, stat: Stats): void {
  fchownSync(fd, stat.uid, stat.gid);
  fchmodSync(fd, stat.mode & 0o7777);
  for (const name of listXattrs(from)) {
    // overlayfs' own marks mean nothing outside of it.
    if (name.startsWith("trusted.overlay.")) continue;
    const value = getXattr(from, name);
    if (value !== null) setXattr(fd, name, value);
  }
  futimesSync(fd, stat.atime, stat.mtime);
}
