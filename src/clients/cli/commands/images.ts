/** `naru images`. */
import { humanSize } from "#base";
import { listImages } from "#clients/api-client";
import type { ImageSummary } from "#wire/docker";

import { filtersOf } from "../options/checks.ts";
import { FORMAT_LIST_USAGE, listFormatter, quietText } from "../output/formatter.ts";
import { shortImageId } from "../output/text.ts";
import { localTime, timeAgo } from "../output/units.ts";
import { Row } from "#go-template";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";

const CREATED = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}";
const TABLE = `table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t${CREATED}\t{{.Size}}`;
const DIGEST_TABLE = `table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t${CREATED}\t{{.Size}}`;
const RAW = `repository: {{ .Repository }}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
`;
const NONE = "<none>";

const HEADERS = {
  ID: "IMAGE ID",
  Repository: "REPOSITORY",
  Tag: "TAG",
  Digest: "DIGEST",
  CreatedSince: "CREATED",
  CreatedAt: "CREATED AT",
  Size: "SIZE",
  Containers: "CONTAINERS",
  VirtualSize: "SIZE",
  SharedSize: "SHARED SIZE",
  UniqueSize: "UNIQUE SIZE",
};

export const images: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Show all images (default hides intermediate images)",
    },
    { name: "digests", kind: "bool", usage: "Show digests" },
    FILTER_FLAG,
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    { name: "no-trunc", kind: "bool", usage: "Don't truncate output" },
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Only show image IDs" },
    {
      name: "tree",
      kind: "bool",
      usage: "List multi-platform images as a tree (EXPERIMENTAL)",
    },
  ],
  async run({ flags, args, session }) {
    const filters = filtersOf(flags.list("filter"));
    const [name] = args;
    if (name !== undefined) (filters["reference"] ??= []).push(name);
    if (flags.bool("tree")) {
      const { checkTreeFlags, printTree } = await import("./image-tree.ts");
      checkTreeFlags(flags);
      await printTree(await session.client(), { all: flags.bool("all"), filters });
      return 0;
    }
    const quiet = flags.bool("quiet");
    const format = flags.string("format") || (quiet ? "" : (session.config.imagesFormat ?? ""));
    const digests = flags.bool("digests") || /\.Digest\b/.test(format);
    const table = flags.bool("digests") ? DIGEST_TABLE : TABLE;
    const render = listFormatter({ format, table, raw: RAW, headers: HEADERS });
    const list = await listImages(await session.client(), {
      all: flags.bool("all"),
      filters,
    });
    if (flags.bool("json")) {
      printLine(JSON.stringify(list));
      return 0;
    }
    const options = { truncated: !flags.bool("no-trunc"), digests, nowMs: Date.now() };
    const rows = list.flatMap((image) => imageRows(image, options));
    const ids = quiet ? quietText(rows, { format, label: "image_id" }) : undefined;
    print(ids ?? render(rows));
    return 0;
  },
};

interface RowOptions {
  readonly truncated: boolean;
  readonly digests: boolean;
  readonly nowMs: number;
}

interface Name {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

/** An image as templates see it: once for each of its names. */
export function imageRows(image: ImageSummary, options: RowOptions): Row[] {
  return namesOf(image, options.digests).map((name) => imageRow(image, name, options));
}

function namesOf(image: ImageSummary, withDigests: boolean): Name[] {
  const tags = byRepository(image.RepoTags ?? [], ":");
  const digests = byRepository(image.RepoDigests ?? [], "@");
  const names: Name[] = [];
  for (const [repository, ownTags] of tags) {
    const ownDigests = withDigests ? (digests.get(repository) ?? []) : [];
    digests.delete(repository);
    const shown = ownDigests.length === 0 ? [NONE] : ownDigests;
    names.push(...ownTags.flatMap((tag) => shown.map((digest) => ({ repository, tag, digest }))));
  }
  for (const [repository, own] of digests) {
    const shown = withDigests ? own : own.slice(0, 1);
    names.push(...shown.map((digest) => ({ repository, tag: NONE, digest })));
  }
  return names.length === 0 ? [{ repository: NONE, tag: NONE, digest: NONE }] : names;
}

/** `a/b:1`, `a/b:2` as a/b with its tags; old daemons name what has no name `<none>`. */
function byRepository(references: readonly string[], separator: ":" | "@"): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const reference of references) {
    const at = reference.lastIndexOf(separator);
    const repository = reference.slice(0, at);
    if (at < 0 || repository === NONE) continue;
    found.set(repository, [...(found.get(repository) ?? []), reference.slice(at + 1)]);
  }
  return found;
}

function imageRow(image: ImageSummary, name: Name, { truncated, nowMs }: RowOptions): Row {
  const sizeOr = (bytes: number) => (bytes === -1 ? "N/A" : humanSize(bytes, 4));
  return new Row("*formatter.imageContext", {
    Containers: () => (image.Containers === -1 ? "N/A" : String(image.Containers)),
    CreatedAt: () => localTime(image.Created),
    CreatedSince: () => (image.Created <= 0 ? "N/A" : timeAgo(image.Created, nowMs)),
    Digest: () => name.digest,
    ID: () => (truncated ? shortImageId(image.Id) : image.Id),
    Repository: () => name.repository,
    SharedSize: () => sizeOr(image.SharedSize),
    Size: () => humanSize(image.Size),
    Tag: () => name.tag,
    UniqueSize: () =>
      image.SharedSize === -1 ? "N/A" : humanSize(image.Size - image.SharedSize, 4),
    VirtualSize: () => humanSize(image.Size, 4),
  });
}
