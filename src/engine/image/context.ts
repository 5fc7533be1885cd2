/** What the files of the image room work with. */
import { type Clock, conflict } from "#base";
import type { ContentStore } from "#engine/content";
import type { EngineEvent, EventBus } from "#engine/events";
import type { GarbageCollector } from "#engine/gc";
import type { LayerStore } from "#engine/layer";
import type { RegistryClient } from "#engine/registry-client";
import type { Digest } from "#oci";

import type { ImageUsers } from "./image-service.ts";
import type { LayerDownloads } from "./layer-downloads.ts";
import type { PackedLayers } from "./packed-layers.ts";
import type { ImageRecords } from "./records.ts";

/** How many layers travel at a time. Read anew each time, so that a reload counts at once. */
export interface Concurrency {
  readonly downloads: number;
  readonly uploads: number;
}

export interface ImageContext {
  readonly records: ImageRecords;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly gc: GarbageCollector;
  readonly events: Pick<EventBus, "publish">;
  readonly users: ImageUsers;
  readonly registry: RegistryClient;
  readonly downloads: LayerDownloads;
  readonly packed: PackedLayers;
  readonly concurrency: Concurrency;
  readonly clock: Clock;
}

export type ImageEvent = Omit<EngineEvent, "timeNano">;

/** What is told of something that happened to an image: with its labels, as Docker does. */
export function imageEvent(
  context: ImageContext,
  request: { action: string; actorId: string; name: string; imageId: Digest },
): ImageEvent {
  const { action, actorId, name, imageId } = request;
  const attributes = { ...labelsOf(context, imageId), name };
  return { type: "image", action, actorId, attributes };
}

/** Tells it at once. */
export function announce(context: ImageContext, request: Parameters<typeof imageEvent>[1]): void {
  context.events.publish(imageEvent(context, request));
}

function labelsOf({ records }: ImageContext, id: Digest): Readonly<Record<string, string>> {
  try {
    return records.get(id).config.config?.Labels ?? {};
  } catch {
    // A damaged config, or one that is gone, must not keep an image from being removed.
    return {};
  }
}

/** @throws EngineError "conflict" for one that somebody removed between its arrival and the lease on it */
export function requireLayers({ layers }: ImageContext, diffIds: readonly Digest[]): void {
  const lost = diffIds.find((diffId) => !layers.has(diffId));
  if (lost !== undefined) throw conflict(`layer ${lost} was removed while its image arrived`);
}

/** The sum of what an image's layers hold. */
export const sizeOfLayers = ({ layers }: ImageContext, diffIds: readonly Digest[]): number =>
  diffIds.reduce((sum, diffId) => sum + (layers.info(diffId)?.contentSizeBytes ?? 0), 0);
