/**
 * What a very large context leaves behind, taken back between the parts of a build: left to itself the collector lets
 * the heap grow to twice of what is in use, and one part's garbage is the next one's floor.
 */

/** With fewer a collection costs more time than it saves memory. */
const LARGE_ENTRIES = 50_000;

/**
 * To be called where nothing but the next part's input is held. The collector works beside the loop: to wait for it would
 * keep everybody waiting for a tenth of a second or three.
 */
export function collectAfter(entries: number): void {
  if (entries >= LARGE_ENTRIES) Bun.gc(false);
}

/** The same, when whoever calls holds nothing any more. */
export function collectSoonAfter(entries: number): void {
  if (entries >= LARGE_ENTRIES) setImmediate(() => collectAfter(entries));
}
