/**
 * Turns of the event loop: work of any length lets everybody else go on now and then. What counts is how long the loop
 * has been held by all such work together, not by one of them: twenty at once hold it no longer than one.
 */

/** So long the loop may be held; then others go first. */
const TURN_MS = 5;

let began = performance.now();
let next: Promise<void> | null = null;
/** Resolves when nobody has the turn that is asked for next. */
let turns: Promise<void> = Promise.resolve();

/** Waits for others if the loop has been held for long. */
export const breathe = (): Promise<void> | undefined =>
  performance.now() - began < TURN_MS ? undefined : othersFirst();

/** For work of some milliseconds that is not cut into pieces: of many that are asked for at once, one a turn. */
export function ownTurn(): Promise<void> {
  const mine = turns;
  turns = turns.then(othersFirst);
  return mine;
}

/** Resolves when everybody else who could go on has. */
export function othersFirst(): Promise<void> {
  next ??= new Promise((resolve) => {
    setImmediate(() => {
      next = null;
      began = performance.now();
      resolve();
    });
  });
  return next;
}
