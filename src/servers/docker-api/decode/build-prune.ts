/** What of the build cache is meant: the filters of `docker builder prune` and of the configuration's policies. */
import { invalid, sentenceOf } from "#base";
import { type BuildPruneRequest, parseCacheFilter } from "#engine/build";
import { type Filters, requireFilters } from "#wire/http";

import { parseMoment } from "../instants.ts";

/** What BuildKit is asked of its records. */
const FIELDS = ["id", "parent", "type", "description", "inuse", "shared", "private"] as const;

/** Labels are what `docker system prune` says of everything: a cache has none, and Docker heeds them as little. */
const PRUNE_FILTERS: ReadonlySet<string> = new Set([
  ...FIELDS,
  "until",
  "unused-for",
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
  return {
    all,
    limits,
    until: untilOf(asked),
    matches: parseCacheFilter([
      FIELDS.flatMap((field) => selectorOf(field, asked[field])).join(","),
    ]),
  };
}

function untilOf(asked: Filters): Date | null {
  const isOld = (asked["unused-for"] ?? []).length > 0;
  if (isOld && (asked["until"] ?? []).length > 0) {
    throw invalid('conflicting filters: "until" and "unused-for"');
  }
  const name = isOld ? "unused-for" : "until";
  const [text, ...others] = asked[name] ?? [];
  if (others.length > 0) throw severalValues();
  if (text === undefined) return null;
  try {
    return parseMoment(text, new Date());
  } catch (cause) {
    const expected = "filter expects a duration (e.g., '24h') or a timestamp";
    throw invalid(`"${name}" ${expected}: ${sentenceOf(cause)}`, { cause });
  }
}

/** A name without a value asks whether the record is that at all. */
function selectorOf(field: (typeof FIELDS)[number], values: Filters[string] | undefined): string[] {
  if (values === undefined) return [];
  const [value, ...others] = values;
  if (others.length > 0) throw severalValues();
  if (value === undefined) return [field];
  return [`${field}${field === "id" ? "~=" : "=="}${value}`];
}

const severalValues = () => invalid("filters expect only one value");
