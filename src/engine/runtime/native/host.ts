/** What births need of this host; those in user namespaces have a nursery and a midwife of their own. */
import type { CgroupHost } from "#linux/cgroup";
import { attempt } from "#linux/ffi";

import type { ExpectedPlaces } from "./expected.ts";
import { type HostFacts, readHostFacts } from "./facts.ts";
import { Midwife } from "./midwife.ts";
import { type Nursery, openNursery } from "./nursery.ts";
import { PlanCache } from "./plan-cache.ts";
import type { Trampoline } from "./trampoline.ts";
import { UserNamespaces } from "./user-namespaces.ts";

export interface Host {
  readonly midwife: Midwife;
  readonly nursery: Nursery;
  readonly facts: HostFacts;
  readonly cgroups: CgroupHost;
  readonly expected: ExpectedPlaces;
  readonly plans: PlanCache;
  /** Null: births in the engine's own user namespace. */
  readonly userNamespaces: UserNamespaces | null;
}

export interface RemappedHostOptions {
  readonly trampoline: Trampoline;
  /** Where the nursery is furnished. */
  readonly folder: string;
  readonly cgroups: CgroupHost;
  readonly expected: ExpectedPlaces;
}

/** Costs nothing until the first container with a user namespace is born. */
export class RemappedHost implements Disposable {
  readonly #options: RemappedHostOptions;
  #host: (Host & { readonly userNamespaces: UserNamespaces }) | null = null;

  constructor(options: RemappedHostOptions) {
    this.#options = options;
  }

  /** @throws EngineError, SyscallError where the host has no user namespaces */
  open(): Host {
    return (this.#host ??= this.#make());
  }

  [Symbol.dispose](): void {
    const host = this.#host;
    if (host === null) return;
    host.midwife[Symbol.dispose]();
    host.userNamespaces[Symbol.dispose]();
    attempt("close", host.nursery.namespace);
  }

  #make(): Host & { readonly userNamespaces: UserNamespaces } {
    const { trampoline, folder, cgroups, expected } = this.#options;
    const nursery = openNursery({ trampoline, folder, cgroups, kernelTrees: true });
    const facts = readHostFacts(cgroups, nursery.emptyDevice);
    const midwife = new Midwife(trampoline, nursery.namespace);
    const plans = new PlanCache(midwife.address);
    const userNamespaces = new UserNamespaces(trampoline);
    return { midwife, nursery, facts, cgroups, expected, plans, userNamespaces };
  }
}
