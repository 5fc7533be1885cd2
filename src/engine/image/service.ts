/** The image room's one object: names to images, and how images come and go. */
import { type Clock, invalid, systemClock } from "#base";
import type { ContentStore } from "#engine/content";
import type { EventBus } from "#engine/events";
import type { GarbageCollector } from "#engine/gc";
import type { LayerStore } from "#engine/layer";
import type { RegistryClient } from "#engine/registry-client";
import type { Store } from "#engine/store";
import {
  type Digest,
  familiarReference,
  formatReference,
  parseReference,
  parseTag,
  type Platform,
} from "#oci";

import { commitImage } from "./commit.ts";
import { addBuilt, addBuiltIndex } from "./add-built.ts";
import { announce, type Concurrency, type ImageContext } from "./context.ts";
import type {
  DeletedImage,
  Image,
  ImageFilters,
  ImageHistoryEntry,
  ImageSearchResult,
  ImageService,
  ImageUsage,
  ImageUsers,
} from "./image-service.ts";
import { importTar } from "./import.ts";
import { LayerDownloads } from "./layer-downloads.ts";
import { PackedLayers } from "./packed-layers.ts";
import { historyOf, listImages } from "./list.ts";
import { load } from "./load.ts";
import { pruneImages } from "./prune.ts";
import { pull } from "./pull.ts";
import { push } from "./push.ts";
import { ImageRecords } from "./records.ts";
import { removeImage } from "./remove.ts";
import { imageFor, imagesOf } from "./platforms.ts";
import { fetchDocuments, fetchLayer, pushCache } from "./remote-cache.ts";
import { resolveNamed } from "./resolve.ts";
import { save } from "./save.ts";
import { searchImages } from "./search.ts";
import { usageOf } from "./manifests.ts";
import { usageOfImages } from "./usage.ts";

export interface ImageServiceOptions {
  /** Opened with `imageMigrations`. */
  readonly store: Store;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  /** Opened with "image" among its owners: the service registers its roots. */
  readonly gc: GarbageCollector;
  readonly events: Pick<EventBus, "publish">;
  readonly users: ImageUsers;
  readonly registry: RegistryClient;
  /** Docker's 3 and 5 if left out. */
  readonly concurrency?: Concurrency;
  readonly clock?: Clock;
}

const DEFAULT_CONCURRENCY: Concurrency = { downloads: 3, uploads: 5 };

export function openImageService(options: ImageServiceOptions): ImageService {
  const { store, content, layers, gc, events, users, registry } = options;
  const records = new ImageRecords({ store, content });
  gc.addRoots("image", () => records.needed());
  const concurrency = options.concurrency ?? DEFAULT_CONCURRENCY;
  return new Images({
    records,
    content,
    layers,
    gc,
    events,
    users,
    registry,
    downloads: new LayerDownloads({
      layers,
      concurrency: () => concurrency.downloads,
    }),
    packed: new PackedLayers(content),
    concurrency,
    clock: options.clock ?? systemClock,
  });
}

class Images implements ImageService {
  readonly #context: ImageContext;

  constructor(context: ImageContext) {
    this.#context = context;
  }

  resolve(nameOrId: string, platform?: Platform | null): Image {
    return imageFor(this.#context, nameOrId, platform);
  }

  isCalled(id: Digest, name: string): boolean {
    const { records } = this.#context;
    const resolved = resolveNamed(records, name);
    if (resolved.id === id) return true;
    return resolved.index !== null && records.indexes.containing(id).includes(resolved.index);
  }

  familyOf(nameOrId: string): ReadonlySet<Digest> {
    const { records } = this.#context;
    const { id, index } = resolveNamed(records, nameOrId);
    const members = index === null ? [] : records.indexes.members(index);
    const family = new Set([id, ...members.map(({ imageId }) => imageId)]);
    // A set is walked in the order of its growth: children of children come too.
    for (const one of family) for (const child of records.children(one)) family.add(child);
    return family;
  }

  list(filters: ImageFilters = {}, options: { all?: boolean; byIndex?: boolean } = {}): Image[] {
    return listImages(this.#context, filters, options);
  }

  history(nameOrId: string, platform?: Platform | null): ImageHistoryEntry[] {
    return historyOf(this.#context, imageFor(this.#context, nameOrId, platform));
  }

  tag(request: { source: string; repository: string; tag: string }): void {
    const { records, clock } = this.#context;
    const target = parseReference(request.repository);
    if (target.digest !== null) throw invalid("refusing to create a tag with a digest reference");
    const tag = request.tag === "" ? (target.tag ?? "latest") : parseTag(request.tag);
    const { id, index } = resolveNamed(records, request.source);
    const name = formatReference({ ...target, tag });
    records.setName(name, id, clock.now(), index);
    const shown = familiarReference({ ...target, tag });
    announce(this.#context, { action: "tag", actorId: id, name: shown, imageId: id });
  }

  async remove(request: Parameters<ImageService["remove"]>[0]): Promise<DeletedImage[]> {
    return removeImage(this.#context, request);
  }

  async pull(request: Parameters<ImageService["pull"]>[0]): Promise<void> {
    await pull(this.#context, request);
  }

  async push(request: Parameters<ImageService["push"]>[0]): Promise<void> {
    await push(this.#context, request);
  }

  async load(request: Parameters<ImageService["load"]>[0]): Promise<readonly Digest[]> {
    return await load(this.#context, request);
  }

  save(
    names: readonly string[],
    request: Parameters<ImageService["save"]>[1],
  ): ReadableStream<Uint8Array> {
    return save(this.#context, names, request);
  }

  async search(request: Parameters<ImageService["search"]>[0]): Promise<ImageSearchResult[]> {
    return await searchImages(this.#context, request);
  }

  async prune(request: Parameters<ImageService["prune"]>[0]) {
    return await pruneImages(this.#context, request);
  }

  usage(): ReturnType<ImageService["usage"]> {
    return usageOfImages(this.#context);
  }

  containersOf({ id, indexes }: Image): number {
    const others = indexes.flatMap((index) => imagesOf(this.#context, index));
    const ids = new Set([id, ...others.map((image) => image.id)]);
    return [...ids].reduce((sum, one) => sum + this.#context.users.usersOf(one).length, 0);
  }

  usageOf(image: Image, name?: string): ImageUsage {
    return usageOf(this.#context, image, name);
  }

  async commit(request: Parameters<ImageService["commit"]>[0]): Promise<Digest> {
    return await commitImage(this.#context, request);
  }

  async addBuilt(request: Parameters<ImageService["addBuilt"]>[0]): Promise<Digest> {
    return await addBuilt(this.#context, request);
  }

  async addBuiltIndex(request: Parameters<ImageService["addBuiltIndex"]>[0]): Promise<void> {
    await addBuiltIndex(this.#context, request);
  }

  async fetchDocuments(request: Parameters<ImageService["fetchDocuments"]>[0]) {
    return await fetchDocuments(this.#context, request);
  }

  async fetchLayer(request: Parameters<ImageService["fetchLayer"]>[0]): Promise<void> {
    await fetchLayer(this.#context, request);
  }

  forgetLostLayers(): void {
    const { records, layers } = this.#context;
    records.forgetLostLayers((diffId) => layers.has(diffId));
  }

  async pushCache(request: Parameters<ImageService["pushCache"]>[0]): Promise<Digest> {
    return await pushCache(this.#context, request);
  }

  async importTar(request: Parameters<ImageService["importTar"]>[0]): Promise<Digest> {
    return await importTar(this.#context, request);
  }
}
