/**
 * Gives memory back once work is over: Bun's collector runs when a heap grows, not when it rests, so a daemon that
 * loaded an image would keep what that took. A look costs one system call; a collection pauses for 10 ms or so,
 * and only a process that has just gone quiet has one.
 */

const LOOK_MS = 5000;
/** Processor time within a look that counts as work. */
const BUSY_USEC = 50_000;
const QUIET_USEC = 10_000;

/** Watches this process until it ends. */
export function giveBackWhenIdle(): void {
  let last = process.cpuUsage();
  let isDue = true;
  setInterval(() => {
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    if (user + system > BUSY_USEC) isDue = true;
    if (!isDue || user + system > QUIET_USEC) return;
    Bun.gc(true);
    isDue = false;
    last = process.cpuUsage(); // the collection itself is no work
  }, LOOK_MS).unref();
}
