/**
 * Standard streams by descriptor. `process.stdout` costs 9 ms of CPU at start-up, `node:fs` 1 ms, a `dlopen` 0.2 ms:
 * a command that prints three lines goes straight to write(2). Writes block, so the reader sets the pace.
 */
import { dlopen, FFIType, read as memory } from "bun:ffi";

const { i32, u64, i64_fast } = FFIType;
const openLibc = () =>
  dlopen("libc.so.6", {
    write: { args: [i32, FFIType.ptr, u64], returns: i64_fast },
    read: { args: [i32, FFIType.ptr, u64], returns: i64_fast },
    open: { args: [FFIType.ptr, i32, i32], returns: i32 },
    close: { args: [i32], returns: i32 },
    poll: { args: [FFIType.ptr, u64, i32], returns: i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  }).symbols;
let opened: ReturnType<typeof openLibc> | undefined;
/** Opened at its first use: a command that prints nothing never does. */
const libc = () => (opened ??= openLibc());

const EINTR = 4;
const EAGAIN = 11;
const EPIPE = 32;
const POLLIN = 1;
const POLLOUT = 4;
const O_CLOEXEC = 0x80000;

export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;

/** The reader of our output has gone: the program ends quietly, as SIGPIPE would have ended it. */
export class BrokenPipe extends Error {}

const encoder = new TextEncoder();

const errno = (): number => {
  const location = libc().__errno_location();
  return location === null ? 0 : memory.i32(location, 0);
};

/** Writes all of it. @throws BrokenPipe */
export function writeAll(fd: number, data: string | Uint8Array): void {
  let rest = typeof data === "string" ? encoder.encode(data) : data;
  while (rest.length > 0) {
    const written = Number(libc().write(fd, rest, rest.length));
    if (written >= 0) {
      rest = rest.subarray(written);
      continue;
    }
    const error = errno();
    if (error === EPIPE) throw new BrokenPipe("broken pipe");
    if (error === EAGAIN) waitFor(fd, POLLOUT);
    else if (error !== EINTR) throw new Error(`write to descriptor ${fd}: errno ${error}`);
  }
}

/** Prints to standard output. */
export const print = (text: string): void => writeAll(STDOUT, text);
/** Prints a line to standard output. */
export const printLine = (text: string): void => writeAll(STDOUT, `${text}\n`);
/** Prints a line to standard error. */
export const warn = (text: string): void => writeAll(STDERR, `${text}\n`);

function waitFor(fd: number, events: number): void {
  const request = new Int32Array(2);
  request[0] = fd;
  request[1] = events; // the upper half is what poll answers
  libc().poll(request, 1, -1);
}

const READ_BYTES = 64 * 1024;

/** A small file as text, undefined when it cannot be read. For files of the user's own, read whole. */
export function readTextFile(path: string): string | undefined {
  if (path.includes("\0")) return undefined;
  const fd = libc().open(encoder.encode(`${path}\0`), O_CLOEXEC, 0);
  if (fd < 0) return undefined;
  try {
    return new TextDecoder().decode(readToEnd(fd));
  } catch {
    return undefined; // a folder, or gone meanwhile
  } finally {
    libc().close(fd);
  }
}

/** Everything a descriptor holds, blocking. */
export function readToEnd(fd: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = new Uint8Array(READ_BYTES);
    const length = readSome(fd, chunk);
    if (length === 0) return Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, length));
  }
}

/** Reads once, blocking; 0 is the end. */
export function readSome(fd: number, target: Uint8Array): number {
  for (;;) {
    const length = Number(libc().read(fd, target, target.length));
    if (length >= 0) return length;
    const error = errno();
    if (error === EAGAIN) waitFor(fd, POLLIN);
    else if (error !== EINTR) throw new Error(`read of descriptor ${fd}: errno ${error}`);
  }
}
