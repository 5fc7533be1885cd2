/**
 * What was read of a process' output and is not in its log yet, in memory that outlives the supervisor: a mapped file
 * below the exec-root. A chunk is copied out of the pipe, written to the log, and only then taken out of the pipe. A
 * successor that finds one in between cuts the log back, and finds the chunk in the pipe; a line that has no end yet
 * is kept here as well. So a supervisor may be killed between any two instructions.
 *
 *   0        u32: how many slots were ever used
 *   4096     a head for each slot, one stream of one process
 *              0    its name in ASCII, zeros behind; none: the slot is free
 *            192    u32: the length of the chunk that is in between, times 2, plus which text holds the unfinished line
 *            196    u32, u32: lengths of both texts
 *            208    u64, u64, u64: the log's inode and size before the chunk, the chunk's hash
 *   …        two texts for each slot
 *
 * A slot is taken by the first byte that a stream prints. Where none is left, or none can be mapped, output is read as it
 * was before there was a ledger. No page is written that was not allocated before: on a full disk that is a SIGBUS.
 */
import { closeSync, ftruncateSync, openSync, statSync, truncateSync } from "node:fs";

import { ENTRY_LIMIT_BYTES, type LogPosition, type LogStream, type LogWriter } from "#engine/logs";
import { attempt } from "#linux/ffi";

import type { ChunkGuard } from "./output.ts";
import type { ProcessKey } from "./protocol.ts";
import { nameOf } from "./records.ts";

const SLOTS = 2048;
const PAGE_BYTES = 4096;
const HEAD_BYTES = 256;
const NAME_BYTES = 192;
const STATE_WORD = 192 / 4;
const LENGTH_WORD = 196 / 4;
const INODE_WORD = 208 / 8;
const SIZE_WORD = 216 / 8;
const HASH_WORD = 224 / 8;
const TEXTS_AT = PAGE_BYTES + SLOTS * HEAD_BYTES;
const FILE_BYTES = TEXTS_AT + SLOTS * 2 * ENTRY_LIMIT_BYTES;
const FILE_MODE = 0o600;
const nothing = new Uint8Array(0);

/** One stream, while it has something to say. */
export interface LedgerSlot {
  /** These bytes are still in the pipe, and are about to be written to the log at this place. */
  begin(chunk: Uint8Array, at: LogPosition): void;
  /** They are in the log but for this; they are about to be taken out of the pipe. */
  prepare(unfinished: Uint8Array): void;
  /** They are. */
  commit(): void;
}

export interface FoundOutput {
  readonly logPath: string;
  /** What the pipe holds, up to so many bytes, without taking it. */
  readonly peek: (limitBytes: number) => Uint8Array;
}

export class OutputLedger {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #longs: BigUint64Array;
  /** By name; those that an earlier supervisor left and nobody asked for yet, too. */
  readonly #taken = new Map<string, number>();
  readonly #free: number[] = [];
  readonly #asked = new Set<string>();
  readonly #file: number;
  /** Where texts are whose pages this process has allocated. */
  readonly #allocated = new Set<number>();

  private constructor(file: number, bytes: Uint8Array) {
    this.#file = file;
    this.#bytes = bytes;
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 4 + headWords);
    this.#longs = new BigUint64Array(
      bytes.buffer,
      bytes.byteOffset,
      (PAGE_BYTES + SLOTS * HEAD_BYTES) / 8,
    );
    for (let slot = Math.min(this.#used, SLOTS) - 1; slot >= 0; slot -= 1) {
      const name = this.#nameAt(slot);
      if (name === "") this.#free.push(slot);
      else this.#taken.set(name, slot);
    }
  }

  /** Null where it cannot be made: a full disk. */
  static open(path: string): OutputLedger | null {
    let file: number | null = null;
    try {
      file = openSync(path, "a", FILE_MODE);
      ftruncateSync(file, FILE_BYTES);
      if (!hasRoom(file, 0, TEXTS_AT)) throw new Error("no room for the heads");
      return new OutputLedger(file, Bun.mmap(path, { shared: true }));
    } catch {
      if (file !== null) closeSync(file);
      return null;
    }
  }

  /** The slot of that name, new or found; null when none is left. */
  slot(name: string): LedgerSlot | null {
    const slot = this.#taken.get(name) ?? this.#take(name);
    if (slot === null) return null;
    this.#asked.add(name);
    const word = headAt(slot) / 4;
    const long = headAt(slot) / 8;
    let next = 0;
    return {
      begin: (chunk, { inode, sizeBytes }) => {
        this.#longs[long + INODE_WORD] = BigInt(inode);
        this.#longs[long + SIZE_WORD] = BigInt(sizeBytes);
        this.#longs[long + HASH_WORD] = hashOf(chunk);
        next = this.#textOf(slot);
        this.#words[word + STATE_WORD] = chunk.length * 2 + next;
      },
      prepare: (unfinished) => {
        const now = this.#textOf(slot);
        const isEmpty = unfinished.length === 0 && this.#words[word + LENGTH_WORD + now] === 0;
        next = isEmpty ? now : 1 - now;
        if (!isEmpty) this.#writeText(slot, next, unfinished);
      },
      commit: () => {
        this.#words[word + STATE_WORD] = next;
      },
    };
  }

  /** The stream has ended, or its log has. May run twice. */
  release(name: string): void {
    const slot = this.#taken.get(name);
    if (slot !== undefined) this.#drop(name, slot);
  }

  /**
   * Of a stream that an earlier supervisor read: its log is put in order.
   * @param found null when its pipe is gone, and with it what was in between
   * @returns the line that has no end yet
   */
  recover(name: string, found: FoundOutput | null): Uint8Array {
    const slot = this.#taken.get(name);
    if (slot === undefined) return nothing;
    this.#asked.add(name);
    const word = headAt(slot) / 4 + STATE_WORD;
    const state = this.#words[word] ?? 0;
    const [length, text] = [state >>> 1, state & 1];
    if (length === 0) return this.#textAt(slot, text);
    if (found === null) return nothing;
    const long = headAt(slot) / 8;
    const chunk = found.peek(length).subarray(0, length);
    const isThere = hashOf(chunk) === this.#longs[long + HASH_WORD];
    const left = isThere ? text : 1 - text;
    if (isThere)
      cutBack(found.logPath, this.#longs[long + INODE_WORD], this.#longs[long + SIZE_WORD]);
    this.#words[word] = left;
    return this.#textAt(slot, left);
  }

  /** What nobody asked for is of processes that are gone. */
  forgetOthers(): void {
    for (const [name, slot] of this.#taken) if (!this.#asked.has(name)) this.#drop(name, slot);
  }

  get #used(): number {
    return this.#words[0] ?? 0;
  }

  #take(name: string): number | null {
    if (name.length >= NAME_BYTES) return null;
    const slot = this.#free.pop() ?? this.#used;
    if (slot >= SLOTS) return null;
    if (slot === this.#used) this.#words[0] = slot + 1;
    this.#words.fill(0, headAt(slot) / 4, (headAt(slot) + HEAD_BYTES) / 4);
    this.#bytes.set(Buffer.from(name, "latin1"), headAt(slot));
    this.#taken.set(name, slot);
    return slot;
  }

  #drop(name: string, slot: number): void {
    this.#bytes[headAt(slot)] = 0;
    this.#taken.delete(name);
    this.#asked.delete(name);
    this.#free.push(slot);
  }

  #nameAt(slot: number): string {
    const name = this.#bytes.subarray(headAt(slot), headAt(slot) + NAME_BYTES);
    return Buffer.from(name.subarray(0, name.indexOf(0))).toString("latin1");
  }

  #textOf(slot: number): number {
    return (this.#words[headAt(slot) / 4 + STATE_WORD] ?? 0) & 1;
  }

  #textAt(slot: number, text: number): Uint8Array {
    const length = this.#words[headAt(slot) / 4 + LENGTH_WORD + text] ?? 0;
    const at = textAt(slot, text);
    return this.#bytes.slice(at, at + Math.min(length, ENTRY_LIMIT_BYTES));
  }

  #writeText(slot: number, text: number, bytes: Uint8Array): void {
    const at = textAt(slot, text);
    const length = this.#allocate(at) ? Math.min(bytes.length, ENTRY_LIMIT_BYTES) : 0;
    this.#bytes.set(bytes.subarray(0, length), at);
    this.#words[headAt(slot) / 4 + LENGTH_WORD + text] = length;
  }

  #allocate(at: number): boolean {
    if (this.#allocated.has(at)) return true;
    if (!hasRoom(this.#file, at, ENTRY_LIMIT_BYTES)) return false;
    this.#allocated.add(at);
    return true;
  }
}

/** What a stream is called in the ledger. */
export const streamName = (key: ProcessKey, stream: LogStream): string =>
  `${nameOf(key)}/${stream}`;

/** For one stream of a log in one file; its slot is taken by its first chunk. */
export function guardOf(request: {
  readonly ledger: OutputLedger;
  readonly log: LogWriter;
  readonly stream: LogStream;
  readonly name: string;
  /** Whether the log takes more: what others print into the pipe later is nobody's. */
  readonly isOpen: () => boolean;
}): ChunkGuard {
  const { ledger, log, stream, name, isOpen } = request;
  let slot: LedgerSlot | null = null;
  return {
    begin: (chunk) => {
      slot = isOpen() ? (slot ?? ledger.slot(name)) : null;
      const at = log.position?.() ?? null;
      if (at !== null) slot?.begin(chunk, at);
    },
    prepare: () => slot?.prepare(log.unfinished(stream)),
    commit: () => slot?.commit(),
  };
}

const headWords = (SLOTS * HEAD_BYTES) / 4;
const headAt = (slot: number): number => PAGE_BYTES + slot * HEAD_BYTES;
const textAt = (slot: number, text: number): number =>
  TEXTS_AT + (slot * 2 + text) * ENTRY_LIMIT_BYTES;
/** Makes a range of a file the file's own. @returns false where there is no room for it */
const hasRoom = (file: number, at: number, length: number): boolean =>
  attempt("fallocate", file, 0, at, length) >= 0;
const hashOf = (bytes: Uint8Array): bigint => BigInt.asUintN(64, Bun.hash.wyhash(bytes));

/** A log that rotated meanwhile stays as it is: some lines are in it twice then, and none is missing. */
function cutBack(path: string, inode: bigint | undefined, sizeBytes: bigint | undefined): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || BigInt(found.ino) !== inode || sizeBytes === undefined) return;
  if (BigInt(found.size) > sizeBytes) truncateSync(path, Number(sizeBytes));
}
