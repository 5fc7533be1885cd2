/** Cgroups made while the rest of a birth is being prepared elsewhere: a millisecond that nobody waits for. */
import type { Cgroup, CgroupHost, CgroupJoin } from "#linux/cgroup";

import type { ExpectedBirth } from "../driver.ts";

/** Where a process will live, and the way in. */
export interface Place {
  readonly cgroup: Cgroup;
  /** The taker's to dispose of. */
  readonly join: CgroupJoin;
}

interface Expected extends Place {
  /** What it was made of. */
  readonly made: string;
  readonly timer: Timer;
}

/** A daemon that announced a birth and neither asks for it nor takes it back has died, or failed. */
const PATIENCE_MS = 3_000;

export class ExpectedPlaces implements Disposable {
  readonly #cgroups: CgroupHost;
  readonly #places = new Map<string, Expected>();

  constructor(cgroups: CgroupHost) {
    this.#cgroups = cgroups;
  }

  /** @throws EngineError, SyscallError; nothing is left then */
  expect(request: ExpectedBirth): void {
    this.drop(request.id);
    const timer = setTimeout(() => this.drop(request.id), PATIENCE_MS);
    timer.unref();
    this.#places.set(request.id, { ...this.#make(request), made: nameOf(request), timer });
  }

  /** The place that waits, or a new one. @throws EngineError, SyscallError */
  take(request: ExpectedBirth): Place {
    const found = this.#places.get(request.id);
    if (found?.made !== nameOf(request)) {
      this.drop(request.id);
      return this.#make(request);
    }
    clearTimeout(found.timer);
    this.#places.delete(request.id);
    return found;
  }

  /** Removes a place that nobody came to. */
  drop(id: string): void {
    const found = this.#places.get(id);
    if (found === undefined) return;
    this.#places.delete(id);
    clearTimeout(found.timer);
    found.join[Symbol.dispose]();
    found.cgroup.tryRemove();
  }

  [Symbol.dispose](): void {
    for (const id of this.#places.keys()) this.drop(id);
  }

  #make({ cgroupsPath, resources }: ExpectedBirth): Place {
    const cgroup = this.#cgroups.create({ path: cgroupsPath, resources });
    try {
      return { cgroup, join: cgroup.openJoin() };
    } catch (thrown) {
      cgroup.tryRemove();
      throw thrown;
    }
  }
}

const nameOf = ({ cgroupsPath, resources }: ExpectedBirth): string =>
  JSON.stringify([cgroupsPath, resources]);
