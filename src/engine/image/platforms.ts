/** Which of several platforms is meant, and what is said when none is. */
import { type EngineError, notFound } from "#base";
import { type Digest, formatPlatform, type ImageConfig, type Platform, platformRank } from "#oci";

import type { ImageContext } from "./context.ts";
import type { Image } from "./image-service.ts";
import { resolveNamed } from "./resolve.ts";

/** The best match, the first of equals; null: none can run there. */
export function bestFor<Candidate extends { readonly config: ImageConfig }>(
  wanted: Platform,
  candidates: readonly Candidate[],
): Candidate | null {
  let best: { candidate: Candidate; rank: number } | null = null;
  for (const candidate of candidates) {
    const rank = platformRank(wanted, candidate.config);
    if (rank !== null && (best === null || rank < best.rank)) best = { candidate, rank };
  }
  return best?.candidate ?? null;
}

/** Exactly for a platform, not only able to run there: what is removed or pushed must be what was named. */
export const isExactly = (wanted: Platform, config: ImageConfig): boolean =>
  platformRank(wanted, config) === 0;

/** The platforms of an index that are here. */
export const imagesOf = ({ records }: Pick<ImageContext, "records">, index: Digest): Image[] =>
  records.indexes.members(index).flatMap(({ imageId }) => records.getReadable(imageId) ?? []);

/** @throws EngineError "notFound", in the words of Docker's store of one platform an image, or of several */
export function imageFor(
  context: Pick<ImageContext, "records">,
  nameOrId: string,
  platform: Platform | null | undefined,
): Image {
  const { id, index } = resolveNamed(context.records, nameOrId);
  const image = context.records.get(id);
  if (!platform) return image;
  const found = bestFor(platform, index === null ? [image] : imagesOf(context, index));
  if (found) return found;
  throw index === null ? isOther(nameOrId, image, platform) : isMissing(nameOrId, platform);
}

const isOther = (name: string, { config }: Image, asked: Platform): EngineError =>
  notFound(
    `image with reference ${name} was found but its platform (${formatPlatform(config)}) does not match the specified platform (${formatPlatform(asked)})`,
  );

export const isMissing = (name: string, asked: Platform): EngineError =>
  notFound(
    `image with reference ${name} was found but does not provide the specified platform (${formatPlatform(asked)})`,
  );
