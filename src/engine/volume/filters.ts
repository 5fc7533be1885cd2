/** Which volumes a list or a prune means. Pure. */
import { invalid } from "#base";

import type { Volume, VolumeFilters } from "./volume-service.ts";

const LIST_FILTERS = new Set(["dangling", "driver", "label", "name"]);
const PRUNE_FILTERS = new Set(["label", "label!"]);

type Matcher = (volume: Volume) => boolean;

/** @throws EngineError "invalid": `invalid filter 'x'` */
export function listMatcher(
  filters: VolumeFilters,
  isUsed: (name: string) => boolean,
): (volume: Volume) => boolean {
  checkKnown(filters, LIST_FILTERS);
  const names = filters["name"] ?? [];
  const drivers = filters["driver"] ?? [];
  const dangling = danglingOf(filters["dangling"] ?? []);
  const hasLabels = labelMatcher(filters);
  return (volume) =>
    (names.length === 0 || names.some((part) => volume.name.includes(part))) &&
    (drivers.length === 0 || drivers.includes("local")) &&
    (dangling === null || dangling === !isUsed(volume.name)) &&
    hasLabels(volume);
}

/** @throws EngineError "invalid" */
export function pruneMatcher(filters: VolumeFilters): Matcher {
  checkKnown(filters, PRUNE_FILTERS);
  return labelMatcher(filters);
}

function checkKnown(filters: VolumeFilters, known: ReadonlySet<string>): void {
  for (const name of Object.keys(filters)) {
    if (!known.has(name)) throw invalid(`invalid filter '${name}'`);
  }
}

function danglingOf(values: readonly string[]): boolean | null {
  const wanted = values.map((value) => {
    if (/^(1|true)$/i.test(value)) return true;
    if (/^(0|false)$/i.test(value)) return false;
    throw invalid(`invalid filter 'dangling=[${values.join(" ")}]'`);
  });
  if (new Set(wanted).size > 1) throw invalid(`invalid filter 'dangling=[${values.join(" ")}]'`);
  return wanted[0] ?? null;
}

function labelMatcher(filters: VolumeFilters): Matcher {
  const having = filters["label"] ?? [];
  const lacking = filters["label!"] ?? [];
  // Docker's: spared is who has all that are named, as with containers and networks.
  return ({ labels }) =>
    having.every((text) => hasLabel(labels, text)) &&
    (lacking.length === 0 || !lacking.every((text) => hasLabel(labels, text)));
}

/** `key` or `key=value`. */
function hasLabel(labels: Volume["labels"], text: string): boolean {
  const at = text.indexOf("=");
  const key = at < 0 ? text : text.slice(0, at);
  return Object.hasOwn(labels, key) && (at < 0 || labels[key] === text.slice(at + 1));
}
