/**
 * Copies a folder of an image into a new volume: contents, owners, modes, times, attributes, links and devices.
 * The source is a read-only view nobody else can change, so names read from it still mean the same when used;
 * links are copied, never followed.
 */
import {
  chmodSync,
  constants,
  lchownSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  type Stats,
} from "node:fs";
import { copyFile } from "node:fs/promises";

import { checked, cstring } from "#linux/ffi";
import { AT_FDCWD } from "#linux/path";
import { getXattr, listXattrs, setXattr } from "#linux/xattr";

const SEPARATOR = Buffer.from("/");
/** Entries between two breaths for everyone else. */
const BREATH_ENTRIES = 64;

/** @param sourceFd a descriptor (O_PATH) of the folder; @param target exists and is empty */
export async function copyTree(sourceFd: number, target: string): Promise<void> {
  const root = Buffer.from(`/proc/self/fd/${sourceFd}/.`);
  let sinceBreath = 0;
  const copyFolder = async (source: Buffer, destination: Buffer): Promise<void> => {
    for (const name of readdirSync(source, { encoding: "buffer" })) {
      const from = Buffer.concat([source, SEPARATOR, name]);
      const to = Buffer.concat([destination, SEPARATOR, name]);
      const stat = lstatSync(from);
      if (stat.isDirectory()) {
        mkdirSync(to, { mode: 0o700 });
        await copyFolder(from, to);
      } else await copyLeaf(from, to, stat);
      copyAttributes(from, to, stat);
      sinceBreath += 1;
      if (sinceBreath % BREATH_ENTRIES === 0) await Bun.sleep(0);
    }
  };
  await copyFolder(root, Buffer.from(target));
  copyAttributes(root, Buffer.from(target), lstatSync(root));
}

async function copyLeaf(from: Buffer, to: Buffer, stat: Stats): Promise<void> {
  if (stat.isSymbolicLink()) symlinkSync(readlinkSync(from, { encoding: "buffer" }), to);
  else if (stat.isFile()) {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  } else {
    const name = cstring(to);
    checked("mknodat", "a special file", AT_FDCWD, name, stat.mode, BigInt(stat.rdev));
  }
}

/** Owner first: changing it takes away set-user-id bits and file capabilities. */
function copyAttributes(from: Buffer, to: Buffer, stat: Stats): void {
  lchownSync(to, stat.uid, stat.gid);
  if (!stat.isSymbolicLink()) chmodSync(to, stat.mode & 0o7777);
  for (const name of listXattrs(from)) {
    // overlayfs' own marks mean nothing outside of it.
    if (name.startsWith("trusted.overlay.")) continue;
    const value = getXattr(from, name);
    if (value !== null) setXattr(to, name, value);
  }
  lutimesSync(to, stat.atime, stat.mtime);
}
