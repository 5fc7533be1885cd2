/**
 * Memory the kernel reads and writes. A typed array's address may move once its `.buffer` is touched,
 * unless it was made over an ArrayBuffer of its own: allocate everything here.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

const encoder = new TextEncoder();

/** Zeroed memory whose address stays put while the array is reachable. */
export const allocate = (sizeBytes: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(new ArrayBuffer(Math.max(sizeBytes, 1)));

/** A NUL-terminated copy of a text (UTF-8) or of raw name bytes. @throws TypeError when it holds a NUL */
export function cstring(text: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const source = typeof text === "string" ? encoder.encode(text) : text;
  if (source.includes(0)) throw new TypeError("a C string cannot hold a NUL byte");
  const copy = allocate(source.length + 1);
  copy.set(source);
  return copy;
}

/** The address of an array made by `allocate` or `cstring`. Keep the array reachable while it is used. */
export const addressOf = (memory: Uint8Array): bigint => BigInt(ptr(memory));

/**
 * Flags for bun:ffi's `cc`: nothing is linked. Otherwise the compiler looks for libc's development files, which only
 * machines that build C programs have.
 */
export const FREESTANDING = "-std=c11 -nostdlib";

/**
 * Gives the C heap's free pages back to the kernel (malloc_trim(3)): what libnftables or SQLite needed for a moment
 * stays dirty otherwise. The collected heap of JavaScript is another one.
 */
export function trimHeap(): void {
  const library = dlopen("libc.so.6", {
    malloc_trim: { args: [FFIType.u64], returns: FFIType.i32 },
  });
  library.symbols.malloc_trim(0n);
  library.close();
}
