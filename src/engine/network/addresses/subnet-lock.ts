/**
 * Engines of ours on one host choose subnets one after the other: whoever chooses holds a lock until its choice is an
 * address on a link, where the next one sees it. The kernel lets go of the lock with the process.
 */
import { closeSync, openSync } from "node:fs";

import { attempt } from "#linux/ffi";

const LOCK = "/run/naru-subnets.lock";
const LOCK_EX = 2;
const LOCK_NB = 4;
const TURN_MS = 2;
/** An engine that is stopped in the middle must not stop all others: whoever looks again afterwards is safe without. */
const PATIENCE_MS = 3000;

/** Waits its turn; disposing gives the lock back. */
export async function lockSubnets(path = LOCK): Promise<Disposable> {
  let fd: number;
  try {
    fd = openSync(path, "a", 0o600);
  } catch {
    return { [Symbol.dispose]: () => undefined }; // Where /run cannot be written there is no second engine either.
  }
  const patience = performance.now() + PATIENCE_MS;
  while (attempt("flock", fd, LOCK_EX | LOCK_NB) < 0 && performance.now() < patience) {
    await Bun.sleep(TURN_MS);
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}
