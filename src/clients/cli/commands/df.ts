/** `naru system df`. */
import { humanSize, invalid } from "#base";
import { diskUsage } from "#clients/api-client";
import { Row, TemplateError } from "#go-template";
import type {
  BuildCache,
  ContainerSummary,
  ImageSummary,
  SystemDiskUsage,
  Volume,
} from "#wire/docker";

import { compileFormat, FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { humanDuration } from "../output/units.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { imageRows } from "./images.ts";
import { containerRow, RAW as CONTAINER } from "./ps.ts";
import { JSON_FLAG } from "./shared-flags.ts";
import { RAW as VOLUME, volumeRow } from "./volumes.ts";

const TABLE = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const RAW = `type: {{.Type}}
total: {{.TotalCount}}
active: {{.Active}}
size: {{.Size}}
reclaimable: {{.Reclaimable}}
`;
const VERBOSE_RAW = `{{range .Images}}type: Image
repository: {{ .Repository }}
tag: {{.Tag}}
digest: {{.Digest}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}

{{end -}}
{{range .Containers}}type: Container
${CONTAINER}size: {{.Size}}

{{end -}}
{{range .Volumes}}type: Volume
${VOLUME}
{{end -}}
{{range .BuildCache}}type: Build Cache
build_cache_id: {{.ID}}
parent_id: {{.Parent}}
build_cache_type: {{.CacheType}}
description: {{.Description}}
created_at: {{.CreatedAt}}
created_since: {{.CreatedSince}}
last_used_at: {{.LastUsedAt}}
last_used_since: {{.LastUsedSince}}
usage_count: {{.UsageCount}}
in_use: {{.InUse}}
shared: {{.Shared}}

{{end -}}`;
/** In this order, which is not the alphabet's. */
const VERBOSE_JSON = `{"Images":{{json .Images}},"Containers":{{json .Containers}},"Volumes":{{json .Volumes}},"BuildCache":{{json .BuildCache}}}`;
const FORMS: Readonly<Record<string, string>> = {
  raw: VERBOSE_RAW,
  json: VERBOSE_JSON,
  "{{json .}}": VERBOSE_JSON,
};
const HEADERS = {
  Type: "TYPE",
  TotalCount: "TOTAL",
  Active: "ACTIVE",
  Size: "SIZE",
  Reclaimable: "RECLAIMABLE",
};

const IMAGES =
  "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const IMAGE_HEADERS = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  ID: "IMAGE ID",
  CreatedSince: "CREATED",
  Size: "SIZE",
  SharedSize: "SHARED SIZE",
  UniqueSize: "UNIQUE SIZE",
  Containers: "CONTAINERS",
};
const CONTAINERS =
  "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const CONTAINER_HEADERS = {
  ID: "CONTAINER ID",
  Image: "IMAGE",
  Command: "COMMAND",
  LocalVolumes: "LOCAL VOLUMES",
  Size: "SIZE",
  RunningFor: "CREATED",
  Status: "STATUS",
  Names: "NAMES",
};
const VOLUMES = "table {{.Name}}\t{{.Links}}\t{{.Size}}";
const VOLUME_HEADERS = { Name: "VOLUME NAME", Links: "LINKS", Size: "SIZE" };
const CACHES =
  "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
const CACHE_HEADERS = {
  ID: "CACHE ID",
  CacheType: "CACHE TYPE",
  Size: "SIZE",
  CreatedSince: "CREATED",
  LastUsedSince: "LAST USED",
  UsageCount: "USAGE",
  Shared: "SHARED",
};

export const df: Command = {
  flags: [
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    {
      name: "verbose",
      shorthand: "v",
      kind: "bool",
      usage: "Show detailed information on space usage",
    },
  ],
  async run({ flags, session }) {
    const format = flags.string("format");
    const verbose = flags.bool("verbose");
    const render = listFormatter({ format, table: TABLE, raw: RAW, headers: HEADERS });
    const usage = await diskUsage(await session.client());
    if (flags.bool("json")) printLine(JSON.stringify(usage));
    else if (verbose && format !== "" && format !== "table") print(templated(format, usage));
    else if (verbose) print(details(usage));
    else print(render(summaries(usage)));
    return 0;
  },
};

interface Summary {
  readonly type: string;
  readonly total: number;
  readonly active: number;
  readonly sizeBytes: number;
  readonly reclaimableBytes: number;
}

const ROW_TYPES: Readonly<Record<string, string>> = {
  Images: "*formatter.diskUsageImagesContext",
  Containers: "*formatter.diskUsageContainersContext",
  "Local Volumes": "*formatter.diskUsageVolumesContext",
  "Build Cache": "*formatter.diskUsageBuilderContext",
};

const rowOf = ({ type, total, active, sizeBytes, reclaimableBytes }: Summary): Row =>
  new Row(ROW_TYPES[type] ?? "", {
    Active: () => String(active),
    Reclaimable: () => {
      const share = sizeBytes > 0 ? Math.trunc((reclaimableBytes * 100) / sizeBytes) : null;
      const text = humanSize(reclaimableBytes, 4);
      // Docker tells no share of a cache.
      return share === null || type === "Build Cache" ? text : `${text} (${share}%)`;
    },
    Size: () => humanSize(sizeBytes, 4),
    TotalCount: () => String(total),
    Type: () => type,
  });

const sum = (sizes: readonly number[]): number => sizes.reduce((all, size) => all + size, 0);
const isActive = ({ State: state }: ContainerSummary): boolean =>
  state === "running" || state === "paused" || state === "restarting";
const sizeOfVolume = ({ UsageData: data }: Volume): number => Math.max(0, data?.Size ?? 0);
const linksOf = ({ UsageData: data }: Volume): number => data?.RefCount ?? 0;

/** What images share with the cache is theirs. */
const sizeOfCaches = (caches: readonly BuildCache[]): number =>
  sum(caches.filter(({ Shared: shared }) => !shared).map(({ Size: size }) => size));

function summaries(usage: SystemDiskUsage): Row[] {
  const { LayersSize: layers = 0, Images, Containers, Volumes, BuildCache } = usage;
  const [images, containers, volumes] = [Images ?? [], Containers ?? [], Volumes ?? []];
  const caches = BuildCache ?? [];
  const used = images.filter((image) => image.Containers > 0);
  const written = ({ SizeRw: size = 0 }: ContainerSummary) => size;
  const unused = containers.filter((container) => !isActive(container));
  return [
    rowOf({
      type: "Images",
      total: images.length,
      active: used.length,
      sizeBytes: layers,
      reclaimableBytes: layers - sum(used.map((image) => image.Size - image.SharedSize)),
    }),
    rowOf({
      type: "Containers",
      total: containers.length,
      active: containers.length - unused.length,
      sizeBytes: sum(containers.map(written)),
      reclaimableBytes: sum(unused.map(written)),
    }),
    rowOf({
      type: "Local Volumes",
      total: volumes.length,
      active: volumes.filter((volume) => linksOf(volume) > 0).length,
      sizeBytes: sum(volumes.map(sizeOfVolume)),
      reclaimableBytes: sum(volumes.filter((volume) => linksOf(volume) === 0).map(sizeOfVolume)),
    }),
    rowOf({
      type: "Build Cache",
      total: caches.length,
      active: caches.filter(({ InUse: inUse }) => inUse).length,
      sizeBytes: sizeOfCaches(caches),
      reclaimableBytes: sizeOfCaches(caches.filter(({ InUse: inUse }) => !inUse)),
    }),
  ];
}

/** `-v --format TEMPLATE`: the template runs once, on all the lists. */
function templated(format: string, usage: SystemDiskUsage): string {
  const nowMs = Date.now();
  const options = { truncated: false, digests: false, nowMs };
  const lists = {
    // Docker tells no digest here, not even that there is none.
    Images: (usage.Images ?? [])
      .flatMap((image) => imageRows(byFirstTag(image), options))
      .map(({ type, fields }) => new Row(type, { ...fields, Digest: () => "" })),
    Containers: (usage.Containers ?? []).map((one) =>
      containerRow({ ...one, SizeRootFs: 0 }, options),
    ),
    Volumes: (usage.Volumes ?? []).map(volumeRow),
    BuildCache: cacheRows(usage.BuildCache ?? [], options),
  };
  try {
    return compileFormat(FORMS[format] ?? format.replace(/^table\s*/, ""))(
      new Row("*formatter.diskUsageContext", lists),
    );
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw invalid(cause.message, { cause });
  }
}

/** An image of several names is one image. */
const byFirstTag = (image: ImageSummary): ImageSummary => ({
  ...image,
  RepoTags: image.RepoTags?.slice(0, 1) ?? [],
  RepoDigests: [],
});

/** Those used longest ago first; what was never used before them. */
function cacheRows(
  caches: readonly BuildCache[],
  { truncated, nowMs }: { readonly truncated: boolean; readonly nowMs: number },
): Row[] {
  const lastUse = ({ LastUsedAt: at }: BuildCache) => (at === null ? -1 : Date.parse(at));
  const sorted = caches.toSorted((a, b) => lastUse(a) - lastUse(b) || (a.ID < b.ID ? -1 : 1));
  const shortened = (id: string) => (truncated ? id.slice(0, SHORT_ID) : id);
  const ago = (at: string | null) =>
    at === null ? "" : `${humanDuration(nowMs - Date.parse(at))} ago`;
  return sorted.map(
    (cache) =>
      new Row("*formatter.buildCacheContext", {
        CacheType: () => cache.Type,
        CreatedAt: () => goTime(cache.CreatedAt),
        CreatedSince: () => ago(cache.CreatedAt),
        Description: () => cache.Description,
        ID: () => `${shortened(cache.ID)}${cache.InUse ? "*" : ""}`,
        InUse: () => String(cache.InUse),
        LastUsedAt: () => (cache.LastUsedAt === null ? "" : goTime(cache.LastUsedAt)),
        LastUsedSince: () => ago(cache.LastUsedAt),
        Parent: () => shortened((cache.Parents ?? []).join(", ")),
        Shared: () => String(cache.Shared),
        Size: () => humanSize(cache.Size, 3),
        UsageCount: () => String(cache.UsageCount),
      }),
  );
}

const SHORT_ID = 12;

/** As Go prints a moment that came as UTC: `2025-05-30 12:07:14.5 +0000 UTC`. */
const goTime = (instant: string): string =>
  `${instant.replace("T", " ").replace(/\.?0*Z$/, "")} +0000 UTC`;

function details({ Images, Containers, Volumes, BuildCache }: SystemDiskUsage): string {
  const nowMs = Date.now();
  const caches = BuildCache ?? [];
  const table = (format: string, headers: Readonly<Record<string, string>>, rows: Row[]) =>
    listFormatter({ format: "", table: format, headers })(rows);
  const images = (Images ?? []).flatMap((image) =>
    imageRows(byFirstTag(image), { truncated: true, digests: false, nowMs }),
  );
  // Without the image's share: that is counted above.
  const containers = (Containers ?? []).map((one) =>
    containerRow({ ...one, SizeRootFs: 0 }, { truncated: true, nowMs }),
  );
  const volumes = (Volumes ?? []).map(
    (volume) =>
      new Row("*formatter.volumeContext", {
        Links: () => String(linksOf(volume)),
        Name: () => volume.Name,
        Size: () => humanSize(sizeOfVolume(volume), 4),
      }),
  );
  return [
    `Images space usage:\n\n${table(IMAGES, IMAGE_HEADERS, images)}`,
    `Containers space usage:\n\n${table(CONTAINERS, CONTAINER_HEADERS, containers)}`,
    `Local Volumes space usage:\n\n${table(VOLUMES, VOLUME_HEADERS, volumes)}`,
    `Build cache usage: ${humanSize(sizeOfCaches(caches), 4)}\n\n${table(CACHES, CACHE_HEADERS, cacheRows(caches, { truncated: true, nowMs }))}`,
  ].join("\n");
}
