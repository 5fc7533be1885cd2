/**
 * A linked container that started again may have another address: the hosts files of running containers that have a
 * link to it follow, as Docker's do. Variables stay as they were at the start, which no one can change in a process.
 */
import { readFileSync, statSync, writeFileSync } from "node:fs";

import { sentenceOf } from "#base";

import type { Context } from "./context.ts";
import { etcPaths } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { isActive } from "./wait.ts";

/** The container can write into its file, without end. */
export const HOSTS_LIMIT_BYTES = 1024 * 1024;

/** `id` is on the default bridge, maybe newly so. Costs a look at an empty set where nobody has links. */
export function followLinked(context: Context, id: string): void {
  for (const parent of context.records.linking()) {
    const aliases = (parent.host.links ?? []).filter(({ container }) => container === id);
    if (aliases.length > 0) follow(context, parent, aliases);
  }
}

/** Start-up: a crash may have come between a linked container's start and the files that tell of it. */
export function followAllLinked(context: Context): void {
  for (const parent of context.records.linking()) follow(context, parent, parent.host.links ?? []);
}

/** The parent has the link no more: its lines of /etc/hosts go. */
export function forgetLinked(context: Context, parent: ContainerRecord, alias: string): void {
  if (!isActive(parent)) return;
  rewriteHosts(context, parent, (hosts) => withoutAlias(hosts, alias));
}

type Links = NonNullable<ContainerRecord["host"]["links"]>;

function follow(context: Context, parent: ContainerRecord, links: Links): void {
  const { networkMode } = parent.host;
  if (!isActive(parent) || networkMode.mode !== "network" || networkMode.name !== "bridge") return;
  rewriteHosts(context, parent, (hosts) => {
    let after = hosts;
    for (const { container, alias } of links) {
      const address = context.network
        .endpointsOf(container)
        .find(({ networkName }) => networkName === "bridge")?.link.address;
      if (address !== undefined && address !== "") after = withAddress(after, alias, address);
    }
    return after;
  });
}

function rewriteHosts(
  context: Context,
  parent: ContainerRecord,
  change: (hosts: string) => string,
): void {
  const path = etcPaths(context, parent).hosts;
  try {
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? Infinity) > HOSTS_LIMIT_BYTES) return;
    const before = readFileSync(path, "utf8");
    const after = change(before);
    // It is mounted in the container: changed where it is, and only when something changes.
    if (after !== before) writeFileSync(path, after);
  } catch (thrown) {
    context.log.warn(`/etc/hosts of ${parent.id} does not follow its links: ${sentenceOf(thrown)}`);
  }
}

/** Lines whose first name is `alias`, with another address; all else stays as it is. Pure. */
export const withAddress = (hosts: string, alias: string, address: string): string =>
  hosts
    .split("\n")
    .map((line) => {
      const [found = "", rest] = line.split("\t", 2);
      const isLink = rest?.split(" ", 1)[0] === alias && !found.startsWith("#");
      return isLink ? `${address}${line.slice(found.length)}` : line;
    })
    .join("\n");

/** Without the lines whose first name is `alias`; all else stays as it is. Pure. */
const withoutAlias = (hosts: string, alias: string): string =>
  hosts
    .split("\n")
    .filter((line) => line.startsWith("#") || line.split("\t")[1]?.split(" ", 1)[0] !== alias)
    .join("\n");
