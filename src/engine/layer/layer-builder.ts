/**
 * Builds one layer file from the bytes of a plain tar: written as they come, hashed, and read for the index on
 * the way; the metadata and the head follow at the end. One sequential write, one sync.
 */
import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync } from "node:fs";

import { attempt, errnoNumbers, SyscallError } from "#linux/ffi";
import type { Digest } from "#oci";

import { writeAll } from "./block-writer.ts";
import { writeErofs } from "./erofs.ts";
import { encodeHead, HEAD_BYTES } from "./layer-file.ts";
import type { LayerInfo } from "./layer-store.ts";
import { LayerTree } from "./layer-tree.ts";
import { TarParser } from "#wire/tar";

/** How much is written before the kernel is asked to start writing it out, so that the sync at the end is short. */
const WRITEBACK_BYTES = 16 * 1024 * 1024;
const SYNC_FILE_RANGE_WRITE = 2;
/** A layer stops before it takes the disk's last space: records and logs need some (or a hundredth of a small disk). */
const DISK_RESERVE_BYTES = 64 * 1024 * 1024;
const ZERO_PIECE = Buffer.alloc(64 * 1024);

export class LayerBuilder implements Disposable {
  readonly tree = new LayerTree();
  readonly #path: string;
  readonly #fd: number;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  readonly #parser: TarParser;
  #tarSizeBytes = 0;
  #writtenOut = 0;
  readonly #keepBytes: boolean;
  #open = true;

  /**
   * @param path where the file is made; disposing of an unfinished builder deletes it
   * @param keepBytes false to check a tar only: such a builder cannot be finished
   */
  constructor(path: string, keepBytes = true) {
    this.#path = path;
    this.#keepBytes = keepBytes;
    this.#fd = openSync(path, "wx+", 0o600);
    this.#parser = new TarParser({ entry: (header) => this.tree.add(header) });
  }

  /** The file, for reading the tar back (from `HEAD_BYTES` on) before it is finished. */
  get fd(): number {
    return this.#fd;
  }

  get tarSizeBytes(): number {
    return this.#tarSizeBytes;
  }

  /** Takes the next bytes of the tar. @throws EngineError "invalid" for no good tar, or the error of the disk */
  push(bytes: Uint8Array): void {
    this.#hasher.update(bytes);
    this.#parser.push(bytes);
    if (this.#keepBytes) this.#write(bytes);
    this.#tarSizeBytes += bytes.length;
    if (this.#keepBytes) this.#startWriteback();
  }

  #startWriteback(): void {
    const written = this.#tarSizeBytes - this.#writtenOut;
    if (written < WRITEBACK_BYTES) return;
    const start = HEAD_BYTES + this.#writtenOut;
    attempt("sync_file_range", this.#fd, start, written, SYNC_FILE_RANGE_WRITE);
    this.#writtenOut = this.#tarSizeBytes;
    const { bfree, blocks, bsize } = statfsSync(this.#path);
    const reserve = Math.min(DISK_RESERVE_BYTES, (blocks * bsize) / 100);
    if (bfree * bsize < reserve) throw new SyscallError("write", "layer", errnoNumbers.ENOSPC);
  }

  /** Zeros are left as a hole: an archive that is nothing but zeros costs no disk. */
  #write(bytes: Uint8Array): void {
    const position = HEAD_BYTES + this.#tarSizeBytes;
    for (let start = 0; start < bytes.length;) {
      let end = start;
      while (end < bytes.length && !isZero(bytes, end)) end += ZERO_PIECE.length;
      end = Math.min(end, bytes.length);
      if (end > start) writeAll(this.#fd, bytes.subarray(start, end), position + start);
      while (end < bytes.length && isZero(bytes, end)) end += ZERO_PIECE.length;
      start = end;
    }
  }

  /** The tar is over: its digest, before anything is spent on it. @throws EngineError "invalid" when it is cut */
  endTar(): Digest {
    this.#parser.end();
    return `sha256:${this.#hasher.digest("hex")}`;
  }

  /** Writes metadata and head and syncs. The file is complete and still under its first name. */
  finish(diffId: Digest): LayerInfo {
    const tarSizeBytes = this.#tarSizeBytes;
    const { root, entries } = this.tree;
    const layout = writeErofs({ fd: this.#fd, root, tarOffset: HEAD_BYTES, tarSizeBytes });
    const { contentSizeBytes } = layout;
    const info: LayerInfo = { diffId, tarSizeBytes, contentSizeBytes, entries };
    writeAll(this.#fd, encodeHead(info, layout), 0);
    fdatasyncSync(this.#fd);
    return info;
  }

  /** Closes the file and keeps it. */
  keep(): void {
    this.#open = false;
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.keep();
    rmSync(this.#path, { force: true });
  }
}

/** True when a whole piece of zeros starts at `offset`: comparing stops at the first other byte. */
function isZero(bytes: Uint8Array, offset: number): boolean {
  if (bytes[offset] !== 0 || offset + ZERO_PIECE.length > bytes.length) return false;
  return ZERO_PIECE.equals(bytes.subarray(offset, offset + ZERO_PIECE.length));
}
