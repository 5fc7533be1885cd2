/** Forwarding between links: turned on for our bridges, and remembered when it was us, so that the firewall guards it. */
import type { Family, Netlink } from "#linux/netlink";

import type { TableFacts } from "../firewall/table.ts";
import type { NetworkRecords } from "../records.ts";
import {
  isForwarding,
  isForwarding6,
  readBootId,
  startForwarding,
  startForwarding6,
} from "./bridge.ts";

/** What we found before we turned forwarding on, for this boot. */
interface ForwardingFact {
  readonly bootId: string;
  readonly bridges: readonly string[];
}

const FACTS = { ipv4: "forwarding", ipv6: "forwarding6" } as const satisfies Record<Family, string>;
const IS_ON = { ipv4: isForwarding, ipv6: isForwarding6 };
const START = { ipv4: startForwarding, ipv6: startForwarding6 };

/** What the operator leaves to the engine. */
export interface ForwardingPolicy {
  /** Forwarding may be turned on; true. Else the host's setting stays what it is. */
  readonly forward?: boolean;
  /** What we turn on is for containers alone; true. Else the host forwards whatever comes. */
  readonly guardForwarding?: boolean;
}

export class Forwarding {
  readonly #records: NetworkRecords;
  readonly #netlink: Netlink;
  readonly #policy: Required<ForwardingPolicy>;

  constructor(request: { records: NetworkRecords; netlink: Netlink; policy: ForwardingPolicy }) {
    this.#records = request.records;
    this.#netlink = request.netlink;
    const { forward = true, guardForwarding = true } = request.policy;
    this.#policy = { forward, guardForwarding };
  }

  /** Records that it will be us. @returns whether the firewall has something new to guard */
  decide(family: Family): boolean {
    if (!this.#policy.forward || IS_ON[family]() || this.#fact(family)) return false;
    const bridges = this.#netlink
      .listLinks()
      // Bridges of other engines of ours filter for themselves.
      .filter(({ kind, name }) => kind === "bridge" && !name.startsWith("naru"))
      .map(({ name }) => name);
    const fact: ForwardingFact = { bootId: readBootId(), bridges };
    this.#records.transact(() => this.#records.setHostFact(FACTS[family], JSON.stringify(fact)));
    return true;
  }

  /** After the firewall's table is there. */
  start(family: Family): void {
    if (this.#policy.forward && !IS_ON[family]()) START[family]();
  }

  /** What the firewall must keep from being forwarded; null where the host forwarded before us. */
  guard(family: Family): TableFacts["guard"] {
    const fact = this.#policy.guardForwarding ? this.#fact(family) : null;
    return fact && { bridges: fact.bridges };
  }

  #fact(family: Family): ForwardingFact | null {
    const text = this.#records.hostFact(FACTS[family]);
    if (text === null) return null;
    const fact = JSON.parse(text) as ForwardingFact;
    return fact.bootId === readBootId() ? fact : null;
  }
}
