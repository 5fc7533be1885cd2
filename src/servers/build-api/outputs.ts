/**
 * What becomes of a build: an image with names, an archive or a folder at the client. The exporters are BuildKit's as
 * Docker has them with containerd's images: several platforms and what is said about them make an index.
 */
import { invalid } from "#base";

import { exportFolder, exportTar } from "./folder-output.ts";
import { exportArchive } from "./archive-output.ts";
import { type Exporting, imageOptions } from "./exporting.ts";
import { exportImage, referencesOf } from "./image-output.ts";

export interface Output {
  readonly type: string;
  readonly attributes: Readonly<Record<string, string>>;
}

const OUTPUT_LIMIT = 16;

/** Before anything is built. @throws EngineError "invalid" in BuildKit's words */
export function checkOutputs(outputs: readonly Output[]): void {
  if (outputs.length > OUTPUT_LIMIT) throw invalid("too many exporters");
  for (const { type, attributes } of outputs) {
    switch (type) {
      case "moby":
      case "image":
      case "oci":
      case "docker":
        imageOptions(type, attributes);
        referencesOf(attributes["name"] ?? "");
        break;
      case "local":
      case "tar":
        break;
      default:
        throw invalid(`exporter ${JSON.stringify(type)} could not be found`);
    }
  }
}

/** @returns what the client is told of it */
export async function exportAll(
  outputs: readonly Output[],
  exporting: Exporting,
): Promise<Record<string, string>> {
  const response: Record<string, string> = {};
  for (const [index, { type, attributes }] of outputs.entries()) {
    if (type === "tar") await exportTar(index, attributes, exporting);
    else if (type === "local") await exportFolder(index, attributes, exporting);
    else if (type === "oci" || type === "docker") {
      Object.assign(response, await exportArchive(index, { type, attributes }, exporting));
    } else Object.assign(response, await exportImage(attributes, exporting));
  }
  return response;
}
