/** What of the build cache is meant: the filters of `docker builder prune` and of the configuration's policies. */
import { invalid } from "#base";
import type { BuildPruneRequest } from "#engine/build";
import { type Filters, requireFilters } from "#wire/http";

import { parseMoment } from "../instants.ts";

/** Of which the CLI gives one value each; "" where a name alone is meant. */
const PRUNE_FILTERS: ReadonlySet<string> = new Set([
  "until",
  "unused-for",
  "id",
  "parent",
  "type",
  "description",
  "inuse",
  "shared",
  "private",
  // What `docker system prune` says of everything: a cache has no labels.
  "label",
  "label!",
]);

/** @throws EngineError "invalid" */
export function decodeBuildPrune({
  all,
  limits,
  filters,
}: Pick<BuildPruneRequest, "all" | "limits"> & {
  readonly filters: Filters;
}): BuildPruneRequest {
  const asked = requireFilters(filters, PRUNE_FILTERS);
  for (const [name, values] of Object.entries(asked)) {
    if (values.length > 1 && !name.startsWith("label"))
      throw invalid("filters expect only one value");
  }
  if (asked["until"] !== undefined && asked["unused-for"] !== undefined) {
    throw invalid('conflicting filters: both "until" and "unused-for" filters are set');
  }
  const until = asked["until"]?.[0] ?? asked["unused-for"]?.[0];
  const id = asked["id"]?.[0];
  return {
    all,
    limits,
    until: until === undefined ? null : parseMoment(until, new Date()),
    ids: asked["label"] !== undefined ? [] : id === undefined ? null : [id],
    match: matchOf(asked),
  };
}

function matchOf(asked: Filters): BuildPruneRequest["match"] {
  const [parent, type, description] = ["parent", "type", "description"].map(
    (name) => asked[name]?.[0],
  );
  const inUse = flagOf(asked, "inuse");
  const isPrivate = flagOf(asked, "private");
  const shared = flagOf(asked, "shared") ?? (isPrivate === undefined ? undefined : !isPrivate);
  return {
    ...(parent === undefined ? {} : { parent }),
    ...(type === undefined ? {} : { type }),
    ...(description === undefined ? {} : { description }),
    ...(inUse === undefined ? {} : { inUse }),
    ...(shared === undefined ? {} : { shared }),
  };
}

function flagOf(asked: Filters, name: string): boolean | undefined {
  const value = asked[name]?.[0];
  if (value === undefined) return undefined;
  if (/^(?:|1|t|true)$/i.test(value)) return true;
  if (/^(?:0|f|false)$/i.test(value)) return false;
  throw invalid(`invalid value for the filter ${name}: ${JSON.stringify(value)}`);
}
