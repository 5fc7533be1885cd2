/**
 * How a layer becomes a directory for overlayfs.
 *
 *   <mountRoot>/<22 digits of base 64>/   "file": the layer file, mounted
 *   <root>/<hex>.tree/                    "directory": extracted beside its layer file
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { rm } from "node:fs/promises";

import { newId } from "#base";
import { SyscallError } from "#linux/ffi";
import {
  MNT_DETACH,
  mount,
  MS_NODEV,
  MS_NOSUID,
  MS_RDONLY,
  readMountInfo,
  unmount,
} from "#linux/mount";
import { FileDescriptor, O_RDONLY, openPath } from "#linux/path";
import { digestHex, type Digest } from "#oci";

import { extractTree } from "./extract.ts";
import { LayerBuilder } from "./layer-builder.ts";
import { HEAD_BYTES, readLayerInfo } from "./layer-file.ts";
import { ingestPath, layerPath, treePath } from "./layer-job.ts";
import { LayerTree } from "./layer-tree.ts";
import { TarParser } from "#wire/tar";
import { TAR_TRAILER } from "#wire/tar";

export interface LayerShow {
  /** The layer's directory, made or mounted if it was not. @throws SyscallError */
  show(diffId: Digest): string;
  /** Takes it away. May run twice. */
  hide(diffId: Digest): void;
}

/** 128 bits of the digest: short, since a stack of them goes into mount options, and as hard to meet by chance. */
const shortName = (diffId: Digest): string =>
  Buffer.from(digestHex(diffId).slice(0, 32), "hex").toString("base64url");

/** overlayfs clones lower mounts without these two; on the host nothing of an image may act. */
const MOUNT_FLAGS = MS_RDONLY | MS_NODEV | MS_NOSUID;

/**
 * Not `directio`: reading 190 MB through the page cache of the file takes 0.6 s cold and 0.4 s after an ingest, with
 * `directio` 1.2 and 1.1 s. The price is that what is read is cached twice until memory is wanted.
 */
const mountFile = (source: string, target: string) =>
  mount({ source, target, type: "erofs", flags: MOUNT_FLAGS });

/** Layer files mounted as they are, each once. */
export function fileShow(root: string, mountRoot: string): LayerShow {
  let mounted: Set<string> | null = null;
  // Mounts of the daemon before us count: they are looked up once, when the first is needed.
  const known = () =>
    (mounted ??= new Set(
      readMountInfo()
        .map(({ target }) => target)
        .filter((target) => target.startsWith(`${mountRoot}/`)),
    ));
  return {
    show(diffId) {
      const target = `${mountRoot}/${shortName(diffId)}`;
      if (known().has(target)) return target;
      mkdirSync(target, { recursive: true, mode: 0o700 });
      mountFile(layerPath(root, diffId), target);
      known().add(target);
      return target;
    },
    hide(diffId) {
      const target = `${mountRoot}/${shortName(diffId)}`;
      while (unmount(target, MNT_DETACH)) {
        // Until nothing is mounted there: an older daemon may have mounted a second time.
      }
      known().delete(target);
      if (existsSync(target)) rmdirSync(target);
    },
  };
}

/** Layers as plain directories. */
export function directoryShow(root: string): LayerShow {
  return {
    show(diffId) {
      const path = treePath(root, diffId);
      // A layer that was written while files could be mounted has no directory yet.
      if (!existsSync(path)) extractFromFile(root, diffId, path);
      return path;
    },
    hide(diffId) {
      const trash = `${ingestPath(root, newId())}.tree`;
      try {
        renameSync(treePath(root, diffId), trash);
      } catch (error) {
        if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
        throw error;
      }
      // Thousands of files: not while somebody waits. What a crash leaves is in ingest/.
      rm(trash, { recursive: true, force: true }).catch(() => undefined);
    },
  };
}

function extractFromFile(root: string, diffId: Digest, path: string): void {
  const file = layerPath(root, diffId);
  const tree = new LayerTree();
  const parser = new TarParser({ entry: (header) => tree.add(header) });
  using source = new FileDescriptor(openPath(file, O_RDONLY));
  const buffer = Buffer.alloc(1024 * 1024);
  const end = HEAD_BYTES + (readLayerInfo(file, diffId)?.tarSizeBytes ?? 0);
  for (let position = HEAD_BYTES; position < end;) {
    const filled = readSync(
      source.fd,
      buffer,
      0,
      Math.min(buffer.length, end - position),
      position,
    );
    if (filled === 0) break;
    parser.push(buffer.subarray(0, filled));
    position += filled;
  }
  parser.end();
  const target = `${ingestPath(root, newId())}.tree`;
  try {
    extractTree({ root: tree.root, tarFd: source.fd, tarOffset: HEAD_BYTES, target });
    renameSync(target, path);
  } finally {
    rmSync(target, { recursive: true, force: true });
  }
}

/**
 * True when this kernel mounts layer files (Linux 6.12, EROFS backed by files): found out by mounting one that is
 * there, or else an empty one. A full disk keeps no engine from starting: then what earlier starts made tells.
 */
export function mountsLayerFiles(root: string, mountRoot: string): boolean {
  const target = `${mountRoot}/try-${newId().slice(0, 12)}`;
  const names = readdirSync(root);
  const mounts = (path: string): boolean => {
    try {
      mountFile(path, target)[Symbol.dispose]();
      return true;
    } catch (error) {
      if (error instanceof SyscallError) return false;
      throw error;
    }
  };
  try {
    mkdirSync(target, { mode: 0o700 });
    const stored = names.find((name) => name.endsWith(".layer"));
    if (stored !== undefined && mounts(`${root}/${stored}`)) return true;
    const path = ingestPath(root, newId());
    {
      using builder = new LayerBuilder(path);
      builder.push(TAR_TRAILER);
      builder.finish(builder.endTar());
      return mounts(path);
    }
  } catch (error) {
    if (!isFull(error)) throw error;
    return !names.some((name) => name.endsWith(".tree"));
  } finally {
    rmSync(target, { recursive: true, force: true });
  }
}

const isFull = (error: unknown): boolean =>
  error instanceof Error && "code" in error && ["ENOSPC", "EDQUOT"].includes(String(error.code));
