/** The time, as a dependency: tests move it, programs hand over the real one. */
export interface Clock {
  /** Now, as a wall-clock date. */
  now(): Date;
  /** Resolves after `delayMs`; rejects with the signal's reason when it aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** A clock further back than this was wrong before: a machine that booted in the future is not to tell it for ever. */
const BACK_LIMIT_NANO = 10n * 1_000_000_000n;

/**
 * Nanoseconds since 1970 for what happens now: never the same twice and, when the clock is only corrected, never
 * backwards.
 */
export function nextNano(lastNano: bigint, now: Date): bigint {
  const nano = BigInt(now.getTime()) * 1_000_000n;
  return nano > lastNano || lastNano - nano > BACK_LIMIT_NANO ? nano : lastNano + 1n;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => new Date(),
  sleep: (delayMs, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(asError(signal.reason));
      const abort = () => {
        clearTimeout(timer);
        reject(asError(signal?.reason));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      }, delayMs);
      signal?.addEventListener("abort", abort, { once: true });
    }),
};

const asError = (reason: unknown): Error =>
  reason instanceof Error ? reason : new Error(String(reason));
