/**
 * A layer's tree as a plain directory, for kernels that cannot mount the layer file. The tree was built in memory
 * first, and what is written here are its nodes by single names below fresh directories of our own: no name or
 * link of the archive is ever followed.
 */
import { mkdirSync } from "node:fs";

import { allocate, attempt, checked, cstring } from "#linux/ffi";
import {
  AT_SYMLINK_NOFOLLOW,
  FileDescriptor,
  isType,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  openPath,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
} from "#linux/path";
import { setXattr } from "#linux/xattr";

import type { LayerNode } from "./layer-tree.ts";
import { bytesOf, textOf } from "#wire/tar";

export interface ExtractRequest {
  readonly root: LayerNode;
  /** The file that holds the tar, and where it starts there. */
  readonly tarFd: number;
  readonly tarOffset: number;
  /** The directory to make. */
  readonly target: string;
}

const OPAQUE_XATTR = "trusted.overlay.opaque";

interface Place {
  readonly node: LayerNode;
  /** Below the target, a byte string; "." for the target itself. */
  readonly path: string;
}

/** Writes the tree and syncs the file system. @throws SyscallError; the caller deletes what is there then */
export function extractTree(request: ExtractRequest): void {
  mkdirSync(request.target, { mode: 0o700 });
  using target = new FileDescriptor(openPath(request.target, O_RDONLY | O_DIRECTORY));
  const directories: Place[] = [{ node: request.root, path: "." }];
  const files = new Map<LayerNode, string>();
  // Grows while it is walked: a queue.
  for (const { node, path } of directories) {
    for (const [name, child] of node.children ?? []) {
      const below = path === "." ? name : `${path}/${name}`;
      const first = files.get(child);
      if (first !== undefined) link(target.fd, first, below);
      else {
        make(target.fd, child, below, request);
        if (child.children) directories.push({ node: child, path: below });
        else files.set(child, below);
      }
    }
  }
  // Last, and children first: making an entry changes its directory's time.
  for (const { node, path } of directories.toReversed()) describe(target.fd, node, path);
  checked("syncfs", request.target, target.fd);
}

const name = (path: string): Uint8Array => cstring(bytesOf(path));

function link(targetFd: number, first: string, path: string): void {
  checked("linkat", path, targetFd, name(first), targetFd, name(path), 0);
}

function make(targetFd: number, node: LayerNode, path: string, request: ExtractRequest): void {
  if (isType(node.mode, S_IFDIR)) {
    checked("mkdirat", path, targetFd, name(path), 0o700);
    return;
  }
  if (isType(node.mode, S_IFREG)) makeFile(targetFd, node, path, request);
  else if (isType(node.mode, S_IFLNK)) {
    checked("symlinkat", path, name(node.link ?? ""), targetFd, name(path));
  } else checked("mknodat", path, targetFd, name(path), node.mode, node.rdev);
  describe(targetFd, node, path);
}

function makeFile(targetFd: number, node: LayerNode, path: string, request: ExtractRequest): void {
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  using file = new FileDescriptor(openPath(bytesOf(path), flags, 0o600, targetFd));
  const whole = [{ offset: 0, sizeBytes: node.sizeBytes }];
  let source = request.tarOffset + node.dataOffset;
  for (const { offset, sizeBytes } of node.sparse ?? whole) {
    copy(request.tarFd, source, file.fd, offset, sizeBytes);
    source += sizeBytes;
  }
  if (node.sparse) checked("ftruncate", path, file.fd, node.sizeBytes);
}

/** Bytes from file to file inside the kernel. */
function copy(fromFd: number, from: number, toFd: number, to: number, sizeBytes: number): void {
  const positions = allocate(16);
  const view = new DataView(positions.buffer);
  view.setBigInt64(0, BigInt(from), true);
  view.setBigInt64(8, BigInt(to), true);
  const second = positions.subarray(8);
  for (let left = sizeBytes; left > 0;) {
    const size = Math.min(left, 0x4000_0000);
    const copied = checked("copy_file_range", "layer", fromFd, positions, toFd, second, size, 0);
    if (copied === 0) throw new Error("broken invariant: the tar ends inside a file");
    left -= copied;
  }
}

/** Owner, attributes, mode and time, in this order: each of the first changes what follows. */
function describe(targetFd: number, node: LayerNode, path: string): void {
  const entry = name(path);
  checked("fchownat", path, targetFd, entry, node.uid, node.gid, AT_SYMLINK_NOFOLLOW);
  const through = Buffer.concat([Buffer.from(`/proc/self/fd/${targetFd}/`), bytesOf(path)]);
  for (const [attribute, value] of node.xattrs ?? []) setXattr(through, textOf(attribute), value);
  if (node.opaque) setXattr(through, OPAQUE_XATTR, Buffer.from("y"));
  if (!isType(node.mode, S_IFLNK)) {
    checked("fchmodat", path, targetFd, entry, node.mode & 0o7777, 0);
  }
  const times = allocate(32);
  const view = new DataView(times.buffer);
  for (const offset of [0, 16]) {
    view.setBigInt64(offset, BigInt(node.mtimeSec), true);
    view.setBigInt64(offset + 8, BigInt(node.mtimeNsec), true);
  }
  // A time that the file system cannot hold is clamped or refused by it; neither is worth a layer.
  attempt("utimensat", targetFd, entry, times, AT_SYMLINK_NOFOLLOW);
}
