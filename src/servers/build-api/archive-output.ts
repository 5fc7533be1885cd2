/** The exporters `oci` and `docker`: an image as an archive, or as blobs in a folder, at the client. */
import { invalid } from "#base";
import { imageIdOf, type PackedImage } from "#engine/build";

import { ClientStore } from "./content-store.ts";
import { builtImages, type Exporting, imageOptions } from "./exporting.ts";
import { referencesOf } from "./image-output.ts";
import { sendBytes } from "./folder-output.ts";
import { told } from "./session.ts";

/** What clients call the folder that an image's blobs go to. */
const STORE = "export";

export async function exportArchive(
  index: number,
  { type, attributes }: { type: "oci" | "docker"; attributes: Readonly<Record<string, string>> },
  exporting: Exporting,
): Promise<Record<string, string>> {
  const options = imageOptions(type, attributes);
  const { isMany, isAttested, builds, progress, signal } = exporting;
  if (type === "docker" && (isMany || isAttested)) {
    throw invalid(
      "docker exporter does not support exporting manifest lists, use the oci exporter instead",
    );
  }
  const names = referencesOf(attributes["name"] ?? "");
  const client = await exporting.session();
  const what = type === "oci" ? "OCI" : "docker";
  return await progress.during(`exporting to ${what} image format`, async (done) => {
    using packed = await builds.packImage({
      // Docker's archive has no place for what is said about an image.
      images: builtImages(exporting, names, type === "oci").map((image) => ({
        ...image,
        id: imageIdOf(image),
      })),
      names,
      annotations: options.annotations,
      isIndex: isMany,
      isOci: options.isOci,
      compression: options.compression ?? { type: "gzip", level: null },
      signal,
    });
    exporting.onMade?.(packed.target, packed.documents);
    await done("exporting layers");
    await done(`exporting manifest ${packed.target.digest}`);
    if (options.isArchive) {
      using stream = client.openOutput(index, signal);
      try {
        await sendBytes(stream, packed.archive(type));
      } catch (cause) {
        throw told(cause);
      }
      await done("sending tarball");
    } else await sendBlobs(packed, new ClientStore(client, STORE), signal);
    return responseOf(packed, { names, isMany, exporting });
  });
}

async function sendBlobs(
  { blobs }: PackedImage,
  store: ClientStore,
  signal: AbortSignal,
): Promise<void> {
  for (const [digest, { sizeBytes, open }] of blobs) {
    await store.write({ digest, size: sizeBytes }, open(), signal);
  }
}

function responseOf(
  { target }: PackedImage,
  about: { names: readonly string[]; isMany: boolean; exporting: Exporting },
): Record<string, string> {
  const { names, isMany, exporting } = about;
  const [{ solved }] = exporting.results;
  return {
    "containerimage.digest": target.digest,
    ...(isMany ? {} : { "containerimage.config.digest": imageIdOf(solved) }),
    "containerimage.descriptor": Buffer.from(JSON.stringify(target)).toString("base64"),
    ...(names.length === 0 ? {} : { "image.name": names.join(",") }),
  };
}
