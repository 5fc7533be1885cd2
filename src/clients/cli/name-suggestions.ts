/** After a failure: the name that may have been meant, as for mistyped commands and flags. Nothing is ever run for it. */
import { listContainers, listImages, listVolumes } from "#clients/api-client";

import type { MissingName } from "./commands/failure.ts";
import type { Session } from "./config/session.ts";
import { editDistance } from "./flags/parse.ts";
import { warn } from "./terminal/stdio.ts";

/** Names as short as this have neighbours by chance. */
const SHORT = 3;
const MAXIMUM_DISTANCE = 2;

/** Prints what the engine has that is spelled like what it had not. Silent when it cannot be asked. */
export async function suggestNames(session: Session, all: readonly MissingName[]): Promise<void> {
  const near = new Set<string>();
  for (const { kind, name } of all) {
    const known = await knownNames(session, kind).catch((): string[] => []);
    for (const candidate of nearest(name, known)) near.add(candidate);
  }
  if (near.size === 0) return;
  warn(`\nDid you mean this?\n${[...near].map((name) => `\t${name}`).join("\n")}`);
}

/** Pure: those of `known` that are a slip or two away, the closest only. */
export function nearest(name: string, known: readonly string[]): string[] {
  const typed = name.replace(/:latest$/, "");
  const allowed = typed.length <= SHORT ? 0 : typed.length <= 2 * SHORT ? 1 : MAXIMUM_DISTANCE;
  const close = known
    .map((candidate) => ({
      candidate,
      distance: editDistance(candidate.replace(/:latest$/, ""), typed),
    }))
    .filter(({ distance }) => distance > 0 && distance <= allowed);
  const best = Math.min(...close.map(({ distance }) => distance));
  return close.filter(({ distance }) => distance === best).map(({ candidate }) => candidate);
}

async function knownNames(session: Session, kind: MissingName["kind"]): Promise<string[]> {
  const client = await session.client();
  switch (kind) {
    case "container": {
      const list = await listContainers(client, { all: true, filters: {} });
      return list.flatMap(({ Names }) => Names.map((name) => name.replace(/^\//, "")));
    }
    case "image":
      return (await listImages(client)).flatMap(({ RepoTags }) => RepoTags ?? []);
    case "volume":
      return (await listVolumes(client)).Volumes.map(({ Name }) => Name);
    case "network":
      return (await client.json<{ Name: string }[]>({ method: "GET", path: "/networks" })).map(
        ({ Name }) => Name,
      );
    case "object": {
      const kinds = ["container", "image", "volume", "network"] as const;
      return (await Promise.all(kinds.map((each) => knownNames(session, each)))).flat();
    }
  }
}
