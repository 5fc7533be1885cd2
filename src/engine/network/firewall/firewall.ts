/** Our table in the kernel: written whole from the records, changed by elements, restored when it is gone. */
import { wrap } from "#base";
import { type Nftables, NftablesError } from "#linux/nftables";

import type { PublishedPort } from "../records.ts";
import { ensureAcceptedByLegacy, removeAcceptedByLegacy } from "./foreign-legacy.ts";
import { ensureAccepted, removeAccepted } from "./foreign.ts";
import { addElements, removeElements, replaceTable, type TableFacts, tableName } from "./table.ts";

export class Firewall implements Disposable {
  readonly #nftables: Nftables;
  readonly #bridge: string;
  readonly #table: string;
  readonly #facts: () => Omit<TableFacts, "table" | "bridge">;

  /** @param request.facts what the whole table must hold now, all recorded ports among it */
  constructor(request: {
    nftables: Nftables;
    bridge: string;
    facts: () => Omit<TableFacts, "table" | "bridge">;
  }) {
    this.#nftables = request.nftables;
    this.#bridge = request.bridge;
    this.#table = tableName(request.bridge);
    this.#facts = request.facts;
  }

  /** The whole table anew, in one transaction; connections go on. */
  ensure(): void {
    try {
      const [table, bridge] = [this.#table, this.#bridge];
      this.#nftables.apply(replaceTable({ table, bridge, ...this.#facts() }));
      ensureAccepted(this.#nftables, bridge);
      ensureAcceptedByLegacy(bridge);
    } catch (cause) {
      throw wrap("failed to program the firewall", cause);
    }
  }

  /** Restores the table when another program has wiped it. @returns whether it was gone */
  verify(): boolean {
    const tables = this.#nftables.list("list tables inet") as { table?: { name: string } }[];
    const isThere = tables.some(({ table }) => table?.name === this.#table);
    if (isThere) ensureAccepted(this.#nftables, this.#bridge);
    else this.ensure();
    return !isThere;
  }

  /** Opens ports that are recorded already. A wiped table, or a stale element, is answered by writing it all. */
  publish(ports: readonly PublishedPort[]): void {
    const commands = addElements(this.#table, ports);
    if (commands.length === 0) return;
    try {
      this.#nftables.apply(commands);
    } catch (thrown) {
      if (!(thrown instanceof NftablesError)) throw thrown;
      this.ensure();
    }
  }

  /** Closes ports whose records are gone already. */
  unpublish(ports: readonly PublishedPort[]): void {
    const commands = removeElements(this.#table, ports);
    if (commands.length === 0) return;
    try {
      this.#nftables.apply(commands);
    } catch (thrown) {
      if (!(thrown instanceof NftablesError)) throw thrown;
      this.ensure();
    }
  }

  /** Takes the table and our rules in other tables away. */
  remove(): void {
    this.#nftables.apply([`add table inet ${this.#table}`, `delete table inet ${this.#table}`]);
    removeAccepted(this.#nftables, this.#bridge);
    removeAcceptedByLegacy(this.#bridge);
  }

  [Symbol.dispose](): void {
    this.#nftables[Symbol.dispose]();
  }
}
