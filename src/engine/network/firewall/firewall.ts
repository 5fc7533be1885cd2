/** Our table in the kernel: written whole from the records, changed by elements, restored when it is gone. */
import { wrap } from "#base";
import { trimHeap } from "#linux/ffi";
import { type Family, rulesetGeneration } from "#linux/netlink";
import { type Nftables, NftablesError } from "#linux/nftables";

import type { PublishedPort } from "../records.ts";
import { ensureAcceptedByLegacy, removeAcceptedByLegacy } from "./foreign-legacy.ts";
import { ensureAccepted, removeAccepted } from "./foreign.ts";
import { addGuards, GUARD_CHAINS, removeGuards } from "./guard-table.ts";
import type { GuardedPort } from "./guards.ts";
import {
  addBridge,
  addElements,
  type BridgeRules,
  type EntryPolicy,
  opensPorts,
  removeBridge,
  removeElements,
  rulesOf,
  replaceTable,
  type TableFacts,
  tableName,
} from "./table.ts";

type Facts = Omit<TableFacts, "table" | "unruled" | "entry">;

export class Firewall implements Disposable {
  readonly #nftables: Nftables;
  readonly #table: string;
  readonly #facts: () => Facts;
  readonly #entry: EntryPolicy;
  /** Follows the networks there have been: a port too many in a set that no rule asks is no harm. */
  #opening = { isOpened: false };
  readonly #unruled: readonly Family[];
  /** No family has rules. */
  readonly #isOff: boolean;
  /** The rules' generation at the last look: while it stays nobody has changed anything. */
  #verified: number | null = null;

  /**
   * @param request.bridge the default one, which names the table
   * @param request.unruled families that nothing is written for
   * @param request.facts what the whole table must hold now, all recorded ports among it
   */
  constructor(request: {
    nftables: Nftables;
    bridge: string;
    facts: () => Facts;
    unruled?: readonly Family[];
    entry?: EntryPolicy;
  }) {
    this.#entry = request.entry ?? {};
    this.#unruled = request.unruled ?? [];
    this.#isOff = this.#unruled.length === 2;
    this.#nftables = request.nftables;
    this.#table = tableName(request.bridge);
    this.#facts = request.facts;
  }

  /** The whole table anew, in one transaction; connections go on. */
  ensure(): void {
    try {
      const facts = this.#facts();
      // What an engine with rules has left here.
      if (this.#isOff) return this.remove();
      this.#open(facts.bridges);
      const [table, unruled, entry] = [this.#table, this.#unruled, this.#entry];
      this.#nftables.apply(replaceTable({ table, ...facts, unruled, entry }));
      for (const { bridge } of facts.bridges) this.#accept(bridge);
    } catch (cause) {
      throw wrap("failed to program the firewall", cause);
    }
  }

  /** Restores the table when another program has wiped it. @returns whether it was gone */
  verify(): boolean {
    if (this.#isOff) return false;
    const generation = rulesetGeneration();
    if (generation === this.#verified) return false;
    const facts = this.#facts();
    const { bridges } = facts;
    const isThere = this.#isWhole(facts);
    if (!isThere) this.ensure();
    else if (!this.#unruled.includes("ipv4")) {
      for (const { bridge } of bridges) ensureAccepted(this.#nftables, bridge);
    }
    // The library reads the whole ruleset, of every program on the host, to answer.
    trimHeap();
    // Not before: what could not be restored is tried again.
    this.#verified = generation;
    return !isThere;
  }

  /** Whether tables are there, and the chains that every packet passes have their rules. */
  #isWhole(facts: Facts): boolean {
    const inet = this.#rulesByChain("inet");
    const whole = Object.entries(rulesOf({ ...facts, unruled: this.#unruled })).every(
      ([chain, rules]) => inet.get(chain) === rules.length,
    );
    if (!whole || (facts.guarded ?? []).length === 0) return whole;
    const bridge = this.#rulesByChain("bridge");
    return GUARD_CHAINS.every((chain) => bridge.has(chain));
  }

  /** How many rules each chain has; one call, since each reads the whole ruleset. None where there is no table. */
  #rulesByChain(family: "inet" | "bridge"): Map<string, number> {
    const counts = new Map<string, number>();
    try {
      for (const { rule } of this.#nftables.outline(`list table ${family} ${this.#table}`)) {
        if (rule === undefined) continue;
        const { chain } = rule as { chain: string };
        counts.set(chain, (counts.get(chain) ?? 0) + 1);
      }
    } catch (thrown) {
      if (!(thrown instanceof NftablesError) || thrown.code !== "ENOENT") throw thrown;
    }
    return counts;
  }

  /** A network that is recorded already. */
  addBridge(rules: BridgeRules): void {
    this.#open([rules]);
    this.#applyOrEnsure(addBridge(this.#table, rules, this.#entry));
    this.#accept(rules.bridge);
  }

  #open(bridges: readonly BridgeRules[]): void {
    if (opensPorts(bridges, this.#entry)) this.#opening = { isOpened: true };
  }

  /** Another program's chains are of IPv4. */
  #accept(bridge: string): void {
    if (this.#unruled.includes("ipv4")) return;
    ensureAccepted(this.#nftables, bridge);
    ensureAcceptedByLegacy(bridge);
  }

  /** A network whose record is gone already. */
  removeBridge(rules: BridgeRules): void {
    this.#applyOrEnsure(removeBridge(this.#table, rules));
    removeAccepted(this.#nftables, rules.bridge);
    removeAcceptedByLegacy(rules.bridge);
  }

  /** Bridge ports that let only their container's own addresses through. */
  guard(ports: readonly GuardedPort[]): void {
    this.#applyOrEnsure(addGuards(this.#table, ports));
  }

  unguard(ports: readonly GuardedPort[]): void {
    this.#applyOrEnsure(removeGuards(this.#table, ports));
  }

  /** Opens ports that are recorded already. A wiped table, or a stale element, is answered by writing it all. */
  publish(ports: readonly PublishedPort[]): void {
    this.#applyOrEnsure(addElements(this.#table, ports, this.#opening));
  }

  /** Closes ports whose records are gone already. */
  unpublish(ports: readonly PublishedPort[]): void {
    this.#applyOrEnsure(removeElements(this.#table, ports, this.#opening));
  }

  /** Takes the table and our rules in other tables away. */
  remove(): void {
    const families = ["inet", "bridge"].map((family) => `${family} ${this.#table}`);
    this.#nftables.apply(
      families.flatMap((table) => [`add table ${table}`, `delete table ${table}`]),
    );
    for (const { bridge } of this.#facts().bridges) {
      removeAccepted(this.#nftables, bridge);
      removeAcceptedByLegacy(bridge);
    }
  }

  /** The records hold what changes already: where it does not fit, all is written anew. */
  #applyOrEnsure(commands: readonly string[]): void {
    if (commands.length === 0 || this.#isOff) return;
    try {
      this.#nftables.apply(commands);
    } catch (thrown) {
      if (!(thrown instanceof NftablesError)) throw thrown;
      this.ensure();
    }
  }

  [Symbol.dispose](): void {
    this.#nftables[Symbol.dispose]();
  }
}
