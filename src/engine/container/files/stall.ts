/**
 * Clients that neither read nor write: while a stopped container's files are open, its start and its removal wait
 * for them, before all copies that have not begun. Where someone does wait, a copy that has not moved for a while is
 * given up.
 */
import { type EngineError, unavailable } from "#base";

/** As long as a client that stands still may keep a start or a removal waiting, which are of moments. */
export const LIFE_PATIENCE_MS = 5000;
/** The same for other copies. */
export const COPY_PATIENCE_MS = 30_000;
const LOOK_MS = 250;

export interface Patience {
  /** How long its client may stand still; null while nobody waits. */
  readonly patienceMs: () => number | null;
  readonly lookMs?: number;
}

const stalled = (): EngineError =>
  unavailable(
    "the copy was given up: its client stood still while others waited for the container",
  );

/** Calls `onStall`, again and again, while nothing moves and someone waits. */
export class StallGuard implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #movedAt = performance.now();

  constructor({ patienceMs, lookMs = LOOK_MS }: Patience, onStall: (error: EngineError) => void) {
    this.#timer = setInterval(() => {
      const limitMs = patienceMs();
      if (limitMs !== null && performance.now() - this.#movedAt >= limitMs) onStall(stalled());
    }, lookMs).unref();
  }

  /** Something was read or written: the client is there. */
  moved(): void {
    this.#movedAt = performance.now();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** What comes from the client, for as long as it comes. @throws EngineError "unavailable" when it stalls */
export async function* unstalled<T>(
  source: AsyncIterable<T>,
  patience: Patience,
): AsyncGenerator<T> {
  let fail: (error: EngineError) => void = () => undefined;
  using guard = new StallGuard(patience, (error) => fail(error));
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<T>>();
      fail = reject;
      iterator.next().then(resolve, reject);
      const next = await promise;
      guard.moved();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    // Not waited for: it ends after a read that may never end.
    void iterator.return?.()?.catch(() => undefined);
  }
}
