/** Work that nobody waits for yet: it runs after a while, or at once when its result is wanted. */
export interface Later<T> {
  /** Settles when the work has; hastens nothing. */
  readonly done: Promise<T>;
  /** Begins now unless it has begun. */
  now(): Promise<T>;
}

/** @param delayMs how long others go first; 0 begins at once */
export function later<T>(delayMs: number, work: () => Promise<T>): Later<T> {
  const { promise: done, resolve } = Promise.withResolvers<T>();
  let timer: Timer | null = null;
  let hasBegun = false;
  const begin = () => {
    if (hasBegun) return;
    hasBegun = true;
    if (timer !== null) clearTimeout(timer);
    resolve(work());
  };
  if (delayMs === 0) begin();
  else timer = setTimeout(begin, delayMs);
  return {
    done,
    now: () => {
      begin();
      return done;
    },
  };
}

/** What was never to be done. */
export const nothingLater: Later<void> = { done: Promise.resolve(), now: () => Promise.resolve() };
