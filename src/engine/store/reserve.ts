/**
 * Room on the disk that is the database's alone: on a full disk records can still be changed, so that people can
 * remove things. Blocks are taken beyond the files' ends; SQLite grows into them.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";

import { attempt } from "#linux/ffi";

const FALLOC_FL_KEEP_SIZE = 1;
/** The log is written over from its beginning at 1000 pages. */
const LOG_BYTES = 6 * 1024 * 1024;
const GROWTH_BYTES = 1024 * 1024;

/**
 * What a checkpoint may add to the database. Before SQLite opens it, as closing any descriptor of it drops the
 * process' locks. A new one is made here, for root alone: it holds what people give containers as environment.
 */
export const reserveGrowth = (path: string): void =>
  reserve(path, { bytes: GROWTH_BYTES, isLog: false });

/** The write-ahead log, which no lock is on. */
export const reserveLog = (path: string): void =>
  reserve(`${path}-wal`, { bytes: LOG_BYTES, isLog: true });

/** Takes what is to be had: nothing on a disk that is full already, or that cannot reserve. */
function reserve(path: string, { bytes, isLog }: { bytes: number; isLog: boolean }): void {
  let file: number;
  try {
    file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch {
    return;
  }
  const start = isLog ? 0 : fstatSync(file).size;
  attempt("fallocate", file, FALLOC_FL_KEEP_SIZE, start, bytes);
  closeSync(file);
}
