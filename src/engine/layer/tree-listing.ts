/** For tests: a directory tree as comparable lines, read through the kernel as a container would see it. */
import { readFileSync } from "node:fs";

import {
  FileDescriptor,
  isType,
  O_DIRECTORY,
  O_RDONLY,
  openPath,
  readDirectory,
  readLinkAt,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  statPath,
} from "#linux/path";
import { getXattr, listXattrs } from "#linux/xattr";

import { rawOf } from "#wire/tar";

/**
 * One line for each name below a directory, sorted: everything that a layer carries. Hard links share the name of
 * the first of their group.
 */
export function listTree(root: string): string[] {
  const lines: string[] = [];
  const pending = [""];
  const groups = new Map<bigint, string>();
  for (let below = pending.pop(); below !== undefined; below = pending.pop()) {
    const folder = Buffer.concat([Buffer.from(root), Buffer.from(below, "latin1")]);
    using directory = new FileDescriptor(openPath(folder, O_RDONLY | O_DIRECTORY));
    const names = readDirectory(directory.fd).map(({ name }) => rawOf(name));
    for (const name of names.sort()) {
      const path = `${below}/${name}`;
      const file = Buffer.concat([Buffer.from(root), Buffer.from(path, "latin1")]);
      const stat = statPath(file);
      if (!stat) throw new Error(`${path} vanished`);
      if (isType(stat.mode, S_IFDIR)) pending.push(path);
      lines.push([path, ...facts(file, stat, groups, path)].join(" "));
    }
  }
  return lines.sort();
}

type Stat = NonNullable<ReturnType<typeof statPath>>;

function facts(file: Buffer, stat: Stat, groups: Map<bigint, string>, path: string): string[] {
  const { mode, uid, gid, nlink, sizeBytes, mtimeSec, mtimeNsec, rdevMajor, rdevMinor } = stat;
  const directory = isType(mode, S_IFDIR);
  const line = [
    mode.toString(8),
    `${uid}:${gid}`,
    `${mtimeSec}.${mtimeNsec}`,
    `${rdevMajor}:${rdevMinor}`,
  ];
  if (!directory) {
    const first = groups.get(stat.ino) ?? path;
    groups.set(stat.ino, first);
    line.push(`nlink=${nlink}`, `size=${sizeBytes}`, nlink > 1 ? `group=${first}` : "");
  }
  if (isType(mode, S_IFLNK)) line.push(`-> ${rawOf(readLinkAt(-100, file))}`);
  if (isType(mode, S_IFREG)) {
    line.push(new Bun.CryptoHasher("sha256").update(readFileSync(file)).digest("hex").slice(0, 16));
  }
  for (const name of listXattrs(file).sort()) {
    // Attributes of this host, not of the tree.
    if (name === "security.selinux") continue;
    line.push(`${name}=${getXattr(file, name)?.toHex()}`);
  }
  return line;
}
