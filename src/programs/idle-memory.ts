/**
 * Gives memory back once work is over: Bun's collector runs when a heap grows, not when it rests, so a daemon that
 * loaded an image would keep what that took. A look costs one system call; a collection pauses for 10 ms or so,
 * and only a process that has just gone quiet has one.
 */

import { trimHeap } from "#linux/ffi";

const LOOK_MS = 5000;
/** Processor time within a look that counts as work. */
const BUSY_USEC = 50_000;
const QUIET_USEC = 10_000;

/**
 * A process that has hardly worked since its start lets that start's code go, 2 MB of 16: what is needed again is linked
 * from the binary's bytecode. Once it has worked this would cost the next request its compiled code; and a collection
 * alone dirties 2 MB more here, not fewer.
 */
function afterStart(): void {
  Bun.shrink();
  trimHeap();
}

/** Watches this process until it ends. */
export function giveBackWhenIdle(): void {
  let last = process.cpuUsage();
  let isDue = false;
  let looks = 0;
  setInterval(() => {
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    looks += 1;
    if (looks > 1 && user + system > BUSY_USEC) isDue = true;
    if (looks === 2 && !isDue) afterStart();
    if (!isDue || user + system > QUIET_USEC) return;
    Bun.gc(true);
    trimHeap();
    isDue = false;
    last = process.cpuUsage(); // the collection itself is no work
  }, LOOK_MS).unref();
}
