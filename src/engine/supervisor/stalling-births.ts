/** Births that may wait for ever for a file system: ended by whoever gives them up, and what they leave is not waited for. */
import { conflict } from "#base";

import type { ContainerCgroup } from "./parts.ts";

const REMOVE_WAIT = { timeoutMs: 100 };
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5000;

export interface Patience extends Disposable {
  readonly signal: AbortSignal;
}

export class StallingBirths {
  readonly #births = new Map<string, AbortController>();

  /** Null for a birth that cannot stall: it cannot be ended either. */
  begin({ id, mayStall }: { readonly id: string; readonly mayStall?: boolean }): Patience | null {
    if (mayStall !== true) return null;
    const giveUp = new AbortController();
    this.#births.set(id, giveUp);
    const { signal } = giveUp;
    return {
      signal,
      [Symbol.dispose]: () => {
        if (!signal.aborted) this.#births.delete(id);
      },
    };
  }

  /** Ends such a birth, wherever it is. */
  abandon(id: string): void {
    this.#births.get(id)?.abort(conflict(`the start of container ${id} was given up`));
  }

  /** @returns whether the birth that has just failed was given up */
  forget(id: string): boolean {
    return this.#births.delete(id);
  }
}

/** Removes the cgroup once the kernel has let the last process of a birth that was given up die. */
export function removeInTime(cgroup: ContainerCgroup, isBack: () => boolean): void {
  let pauseMs = FIRST_PAUSE_MS;
  const look = async () => {
    if (isBack() || (await cgroup.remove(REMOVE_WAIT))) return;
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    setTimeout(() => void look(), pauseMs).unref();
  };
  // The birth's own record goes first.
  setTimeout(() => void look(), pauseMs).unref();
}
