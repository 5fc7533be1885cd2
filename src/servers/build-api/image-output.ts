/** The image exporter: names in the engine's own store, and at registries. */
import { invalid } from "#base";
import { imageIdOf } from "#engine/build";
import {
  type Descriptor,
  type Digest,
  formatReference,
  isDigest,
  parseReference,
  withDefaultTag,
} from "#oci";

import { builtImages, type Exporting, type ImageOptions, imageOptions } from "./exporting.ts";

type Attributes = Readonly<Record<string, string>>;

export async function exportImage(
  attributes: Attributes,
  exporting: Exporting,
): Promise<Record<string, string>> {
  const options = imageOptions("image", attributes);
  const names = referencesOf(attributes["name"] ?? "");
  if (options.isPushed && names.length === 0) {
    throw invalid("tag is needed when pushing to registry");
  }
  const { progress } = exporting;
  const kept = await progress.during("exporting to image", async (done) => {
    await done("exporting layers");
    const made = await keep(exporting, { names, options, attributes });
    if (made.target !== null) await done(`exporting manifest list ${made.target.digest}`);
    await done(`writing image ${made.id}`);
    for (const name of names) await done(`naming to ${name}`);
    return made;
  });
  const pushed = options.isPushed ? await pushAll(exporting, { names, options }) : null;
  return responseOf(kept, { names, pushed });
}

interface Kept {
  readonly id: Digest;
  /** null: there is nothing but the image itself. */
  readonly target: Descriptor | null;
  readonly isMany: boolean;
}

async function keep(
  exporting: Exporting,
  request: { names: readonly string[]; options: ImageOptions; attributes: Attributes },
): Promise<Kept> {
  const { names, options, attributes } = request;
  const { results, isMany, builds } = exporting;
  const [{ solved }] = results;
  const images = builtImages(exporting, names);
  const id = imageIdOf(solved);
  const isPlain =
    !isMany &&
    options.annotations.length === 0 &&
    attributes["oci-mediatypes"] === undefined &&
    images.every((image) => image.statements(id).length === 0);
  if (isPlain) return { id: await solved.keep(names), target: null, isMany };
  const { target, documents } = await builds.keepImage({
    images,
    names,
    annotations: options.annotations,
    isIndex: isMany,
  });
  exporting.onMade?.(target, documents);
  return { id, target, isMany };
}

function responseOf(
  { id, target, isMany }: Kept,
  { names, pushed }: { names: readonly string[]; pushed: Pushed | null },
): Record<string, string> {
  const known = target === null ? null : described(target, pushed);
  // What was not pushed is known by what inspect calls it: compose writes this on the containers it makes of the
  // image, and makes every one anew whose image inspect calls otherwise.
  const digest = pushed?.digest ?? (isMany ? target?.digest : undefined) ?? id;
  return {
    "containerimage.digest": digest,
    ...(isMany ? {} : { "containerimage.config.digest": id }),
    ...(known === null
      ? {}
      : { "containerimage.descriptor": Buffer.from(JSON.stringify(known)).toString("base64") }),
    ...(names.length === 0 ? {} : { "image.name": names.join(",") }),
  };
}

const described = (target: Descriptor, pushed: Pushed | null): Descriptor =>
  pushed === null ? target : { ...target, digest: pushed.digest, size: pushed.sizeBytes };

interface Pushed {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** With the passwords of the client's session. @returns what the registries know it by */
async function pushAll(
  { images, session, progress, signal }: Exporting,
  { names, options }: { names: readonly string[]; options: ImageOptions },
): Promise<Pushed | null> {
  const client = await session();
  let pushed: Pushed | null = null;
  for (const reference of names) {
    await progress.during(`pushing ${reference}`, async (done) => {
      const credentials = await client.credentials(parseReference(reference).domain, signal);
      await images.push({
        reference,
        compression: options.compression,
        ...(credentials === undefined ? {} : { credentials }),
        signal,
        onProgress: ({ aux }) => {
          const { Digest: digest, Size: sizeBytes } = (aux ?? {}) as {
            Digest?: string;
            Size?: number;
          };
          if (digest !== undefined && isDigest(digest)) {
            pushed = { digest, sizeBytes: sizeBytes ?? 0 };
          }
        },
      });
      await done(`pushing manifest for ${reference}`);
    });
  }
  return pushed;
}

/** Whole references of `a,b:tag`. */
export function referencesOf(text: string): string[] {
  const names = text.split(",").filter((name) => name !== "");
  const references = names.map((name) => {
    const reference = parseReference(name);
    if (reference.digest !== null) throw invalid("build tag cannot contain a digest");
    return formatReference(withDefaultTag(reference));
  });
  return [...new Set(references)];
}
