/**
 * Another engine's policy that drops what it does not know (Docker sets FORWARD to DROP). It cannot be overridden
 * from our table, so one marked rule for each direction of our bridge goes into DOCKER-USER, else FORWARD, and
 * only there. In the form that iptables writes itself, so that its own listings stay readable.
 */
import type { Nftables } from "#linux/nftables";

interface ListedChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

interface ListedRule {
  readonly chain: string;
  readonly handle: number;
  readonly comment?: string;
}

const markOf = (bridge: string): string => `naru ${bridge}`;

/** Adds what is missing where a policy drops, takes away what is not needed. */
export function ensureAccepted(nftables: Nftables, bridge: string): void {
  const chains = listChains(nftables);
  const forward = chains.find(({ name }) => name === "FORWARD");
  const wanted = forward?.hook === "forward" && forward.policy === "drop";
  const target = chains.some(({ name }) => name === "DOCKER-USER") ? "DOCKER-USER" : "FORWARD";
  const present = chains.length > 0 ? markedRules(nftables, bridge) : [];
  const right = present.filter(({ chain }) => chain === target);
  if (wanted && right.length === 2 && present.length === 2) return;
  const commands = present.map(deletion);
  if (wanted) {
    for (const side of ["iifname", "oifname"]) {
      commands.push(
        `insert rule ip filter ${target} ${side} "${bridge}" counter accept comment "${markOf(bridge)}"`,
      );
    }
  }
  if (commands.length > 0) nftables.apply(commands);
}

/** Takes our marked rules away. */
export function removeAccepted(nftables: Nftables, bridge: string): void {
  if (listChains(nftables).length === 0) return;
  const commands = markedRules(nftables, bridge).map(deletion);
  if (commands.length > 0) nftables.apply(commands);
}

function listChains(nftables: Nftables): ListedChain[] {
  return nftables
    .list("list chains ip")
    .flatMap(({ chain }) => (chain === undefined ? [] : [chain as ListedChain]))
    .filter(({ table }) => table === "filter");
}

function markedRules(nftables: Nftables, bridge: string): ListedRule[] {
  return nftables
    .list("list table ip filter")
    .flatMap(({ rule }) => (rule === undefined ? [] : [rule as ListedRule]))
    .filter(({ comment }) => comment === markOf(bridge));
}

const deletion = ({ chain, handle }: ListedRule): string =>
  `delete rule ip filter ${chain} handle ${handle}`;
