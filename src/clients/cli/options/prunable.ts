/** What a prune would take, chosen as the engine chooses: for `--dry-run`. Pure. */
import { invalid } from "#base";
import type {
  BuildCache,
  ContainerSummary,
  ImageSummary,
  NetworkInspect,
  SystemDiskUsage,
  Volume,
} from "#wire/docker";

import { parseTimestamp } from "./timestamps.ts";

/** On volumes that nobody named. */
const ANONYMOUS_LABEL = "com.docker.volume.anonymous";
const ENDED: ReadonlySet<string> = new Set(["created", "exited", "dead"]);

export interface Wish {
  readonly filters: Readonly<Record<string, readonly string[]>>;
  /** Images with names as well, volumes with names as well, build cache that images share. */
  readonly all: boolean;
  readonly nowMs: number;
}

/** Things of one kind: how they are named to people, and what goes with them. */
export interface Prunable {
  readonly names: readonly string[];
  readonly sizeBytes: number;
  /** True where more may go than can be told. */
  readonly isLeast?: boolean;
}

interface Thing {
  readonly labels: Readonly<Record<string, string>> | null;
  readonly atMs: number;
}

export function prunableContainers(
  { Containers = [] }: SystemDiskUsage,
  wish: Wish,
): Prunable & { readonly ids: ReadonlySet<string> } {
  checkFilters(wish, ["label", "label!", "until"]);
  const chosen = Containers.filter(
    ({ State, Labels, Created }) =>
      ENDED.has(State) && isMeant({ labels: Labels, atMs: Created * 1000 }, wish),
  );
  return {
    ids: new Set(chosen.map(({ Id }) => Id)),
    names: chosen.map(({ Id }) => Id),
    sizeBytes: sum(chosen.map(({ SizeRw }) => SizeRw ?? 0)),
  };
}

/** @param kept the containers that stay */
export function prunableVolumes(
  { Volumes = [] }: SystemDiskUsage,
  kept: readonly ContainerSummary[],
  wish: Wish,
): Prunable {
  checkFilters(wish, ["all", "label", "label!"]);
  const used = new Set(kept.flatMap(({ Mounts }) => Mounts.map(({ Name }) => Name)));
  const chosen = Volumes.filter((volume) => isLoose(volume, wish.all) && !used.has(volume.Name));
  const meant = chosen.filter(({ Labels, CreatedAt }) =>
    isMeant({ labels: Labels, atMs: Date.parse(CreatedAt) }, wish),
  );
  return {
    names: meant.map(({ Name }) => Name),
    sizeBytes: sum(meant.map(({ UsageData }) => Math.max(0, UsageData?.Size ?? 0))),
  };
}

/** One with options may stand for a disk or a server's folder, and is never pruned. */
const isLoose = ({ Labels, Options }: Volume, all: boolean): boolean =>
  Object.keys(Options ?? {}).length === 0 && (all || Object.hasOwn(Labels ?? {}, ANONYMOUS_LABEL));

/** @param kept the containers that stay */
export function prunableImages(
  { Images = [] }: SystemDiskUsage,
  kept: readonly ContainerSummary[],
  wish: Wish,
): Prunable {
  checkFilters(wish, ["label", "label!", "until", "dangling"]);
  const used = new Set(kept.map(({ ImageID }) => ImageID));
  const parents = new Set(Images.map(({ ParentId }) => ParentId));
  const chosen = Images.filter((image) => {
    const isNamed = tagsOf(image).length > 0;
    if (used.has(image.Id) || (isNamed ? !wish.all : parents.has(image.Id))) return false;
    return isMeant({ labels: image.Labels, atMs: image.Created * 1000 }, wish);
  });
  return {
    names: chosen.flatMap((image) => (tagsOf(image).length === 0 ? [image.Id] : tagsOf(image))),
    // What they share among themselves would go as well.
    isLeast: chosen.some(({ SharedSize }) => SharedSize > 0),
    sizeBytes: sum(chosen.map(({ Size, SharedSize }) => Size - Math.max(0, SharedSize))),
  };
}

const tagsOf = ({ RepoTags }: ImageSummary): string[] =>
  (RepoTags ?? []).filter((tag) => !tag.startsWith("<none>"));

/** @param unused the networks that no container is on */
export function prunableNetworks(unused: readonly NetworkInspect[], wish: Wish): Prunable {
  checkFilters(wish, ["label", "label!", "until"]);
  const chosen = unused.filter(({ Labels, Created }) =>
    isMeant({ labels: Labels, atMs: Date.parse(Created) }, wish),
  );
  return { names: chosen.map(({ Name }) => Name), sizeBytes: 0 };
}

export function prunableCache({ BuildCache: all = [] }: SystemDiskUsage, wish: Wish): Prunable {
  checkFilters(wish, ["until"]);
  const beforeMs = untilMs(wish);
  const chosen = all.filter(
    ({ InUse, Shared, LastUsedAt }: BuildCache) =>
      !InUse &&
      (wish.all || !Shared) &&
      (beforeMs === null || LastUsedAt === null || Date.parse(LastUsedAt) < beforeMs),
  );
  const own = chosen.filter(({ Shared }) => !Shared);
  return { names: chosen.map(({ ID }) => ID), sizeBytes: sum(own.map(({ Size }) => Size)) };
}

function checkFilters({ filters }: Wish, known: readonly string[]): void {
  const odd = Object.keys(filters).find((name) => !known.includes(name));
  if (odd !== undefined) throw invalid(`invalid filter '${odd}'`);
}

function isMeant({ labels, atMs }: Thing, wish: Wish): boolean {
  const before = untilMs(wish);
  if (before !== null && atMs > before) return false;
  const { label: having = [], "label!": lacking = [] } = wish.filters;
  const hasAll = (wanted: readonly string[]) => wanted.every((text) => hasLabel(labels, text));
  return hasAll(having) && (lacking.length === 0 || !hasAll(lacking));
}

/** `key` or `key=value`. */
function hasLabel(labels: Thing["labels"], text: string): boolean {
  const at = text.indexOf("=");
  const key = at < 0 ? text : text.slice(0, at);
  if (labels === null || !Object.hasOwn(labels, key)) return false;
  return at < 0 || labels[key] === text.slice(at + 1);
}

function untilMs({ filters, nowMs }: Wish): number | null {
  const { until = [] } = filters;
  const [text] = until;
  if (text === undefined) return null;
  if (until.length > 1) throw invalid("more than one until filter specified");
  return Number(parseTimestamp(text, nowMs)) * 1000;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
