/** `naru images --tree`: each image with its platforms below it. */
import { humanSize, invalid } from "#base";
import { listImages, type ApiClient } from "#clients/api-client";
import type { ImageManifestSummary, ImageSummary } from "#wire/docker";

import type { Flags } from "../flags/spec.ts";
import { alignColumns } from "../output/table.ts";
import { shortImageId } from "../output/text.ts";
import { print } from "../terminal/stdio.ts";

const NOTICE =
  "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
const UNTAGGED = "<untagged>";

/** @throws EngineError "invalid" for flags that docker refuses beside --tree */
export function checkTreeFlags(flags: Flags): void {
  for (const name of ["quiet", "no-trunc", "digests"]) {
    if (flags.bool(name)) throw invalid(`--${name} is not yet supported with --tree`);
  }
  if (flags.string("format") !== "") throw invalid("--format is not yet supported with --tree");
}

export async function printTree(
  client: ApiClient,
  options: { all: boolean; filters: Record<string, string[]> },
): Promise<void> {
  const images = await listImages(client, { ...options, manifests: true });
  const newestFirst = images.toSorted((one, other) => other.Created - one.Created);
  const head = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tEXTRA\n";
  const blocks = newestFirst.map(linesOf);
  print(`${NOTICE}\n  Info -> U In Use \n\n${alignColumns(head + blocks.join("\n"))}`);
}

function linesOf(image: ImageSummary): string {
  const [last = UNTAGGED, ...others] = (image.RepoTags ?? []).toReversed();
  const names = others.toReversed().map((name) => `${name}\n`);
  const manifests = (image.Manifests ?? []).filter(({ Kind: kind }) => kind === "image");
  const content = (image.Manifests ?? []).reduce((all, { Size }) => all + Size.Content, 0);
  const isUsed = manifests.some(({ ImageData: data }) => (data?.Containers.length ?? 0) > 0);
  const own = rowOf(last, {
    id: image.Id,
    totalBytes: image.Size,
    contentBytes: content,
    isUsed,
  });
  const platforms = manifests.map((manifest, index) => {
    const branch = index === manifests.length - 1 ? "└─" : "├─";
    return rowOf(`${branch} ${platformOf(manifest)}`, {
      id: manifest.ID,
      totalBytes: manifest.Size.Total,
      contentBytes: manifest.Size.Content,
      isUsed: (manifest.ImageData?.Containers.length ?? 0) > 0,
    });
  });
  return [...names, own, ...platforms].join("");
}

interface Shown {
  readonly id: string;
  readonly totalBytes: number;
  readonly contentBytes: number;
  readonly isUsed: boolean;
}

const rowOf = (name: string, { id, totalBytes, contentBytes, isUsed }: Shown): string =>
  `${name}\t${shortImageId(id)}\t${humanSize(totalBytes)}\t${humanSize(contentBytes)}\t${isUsed ? "U" : ""}   \n`;

function platformOf({ ImageData: data }: ImageManifestSummary): string {
  if (data === undefined) return "<unknown>";
  const { os, architecture, variant = "" } = data.Platform;
  return [os, architecture, ...(variant === "" ? [] : [variant])].join("/");
}
