/**
 * The image room's records: which images there are, what they are called, what they are made of.
 * A whole change (image, layers, names) is one transaction, so nothing half-made is ever visible.
 */
import { EngineError, IMAGE_CONFIG_LIMIT_BYTES, notFound, sentenceOf, wrap } from "#base";
import type { ContentStore } from "#engine/content";
import type { Store } from "#engine/store";
import {
  chainIdOf,
  type Descriptor,
  type Digest,
  hostPlatform,
  type ImageConfig,
  parseImageConfig,
} from "#oci";

import type { Image } from "./image-service.ts";
import { IndexRecords, isHiddenName } from "./index-records.ts";
import { bestFor } from "./platforms.ts";

/** Parsed configs kept in memory; a config is a few kilobytes. */
const CACHED_IMAGES = 2048;

export interface NewImage {
  readonly id: Digest;
  readonly diffIds: readonly Digest[];
  readonly sizeBytes: number;
  readonly parent: Digest | null;
  readonly manifest: Digest | null;
}

/** A layer's bytes as a registry has them. */
export interface LayerBlob {
  readonly diffId: Digest;
  /** `docker.io/library/busybox`. */
  readonly repository: string;
  readonly descriptor: Pick<Descriptor, "digest" | "size" | "mediaType">;
}

interface ImageRow {
  readonly id: Digest;
  readonly size_bytes: number;
  readonly parent: Digest | null;
  readonly last_tagged_ms: number | null;
}

export class ImageRecords {
  readonly indexes: IndexRecords;
  readonly #store: Store;
  readonly #content: ContentStore;
  readonly #cache = new Map<Digest, Image>();

  constructor(request: { store: Store; content: ContentStore }) {
    this.#store = request.store;
    this.#content = request.content;
    this.indexes = new IndexRecords(request.store);
  }

  transact<T>(work: () => T): T {
    return this.#store.transact(work);
  }

  has(id: Digest): boolean {
    return this.#store.query("SELECT 1 FROM images WHERE id = ?").get(id) !== null;
  }

  /** @throws EngineError "notFound"; "internal" when its config is gone or damaged */
  get(id: Digest): Image {
    const cached = this.#cache.get(id);
    if (cached) return cached;
    const row = this.#store
      .query<ImageRow>("SELECT id, size_bytes, parent, last_tagged_ms FROM images WHERE id = ?")
      .get(id);
    if (!row) throw notFound(`No such image: ${id}`);
    const image = this.#read(row);
    if (this.#cache.size >= CACHED_IMAGES) this.#cache.clear();
    this.#cache.set(id, image);
    return image;
  }

  /** null for an image that is gone, or whose config is damaged: pulling or loading it again repairs it. */
  getReadable(id: Digest): Image | null {
    try {
      return this.has(id) ? this.get(id) : null;
    } catch (thrown) {
      if (thrown instanceof EngineError) return null;
      throw thrown;
    }
  }

  ids(): Digest[] {
    return this.#store
      .query<{ id: Digest }>("SELECT id FROM images")
      .all()
      .map(({ id }) => id);
  }

  /** Up to `limit` images whose digits begin so. */
  idsByPrefix(hexPrefix: string, limit: number): Digest[] {
    return this.#store
      .query<{ id: Digest }>("SELECT id FROM images WHERE id >= ? AND id < ? LIMIT ?")
      .all(`sha256:${hexPrefix}`, `sha256:${hexPrefix}g`, limit)
      .map(({ id }) => id);
  }

  /** Adds an image or, if it is here, what was not known of it. */
  add(image: NewImage): void {
    this.#store.transact(() => {
      this.#store
        .query(
          `INSERT INTO images (id, size_bytes, parent, manifest) VALUES (?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET
             size_bytes = excluded.size_bytes,
             parent = coalesce(parent, excluded.parent),
             manifest = coalesce(excluded.manifest, manifest)`,
        )
        .run(image.id, image.sizeBytes, image.parent, image.manifest);
      const insert = this.#store.query(
        `INSERT OR IGNORE INTO image_layers (image_id, position, diff_id, chain_id)
         VALUES (?, ?, ?, ?)`,
      );
      for (const [position, { diffId, chainId }] of chainOf(image.diffIds).entries()) {
        insert.run(image.id, position, diffId, chainId);
      }
    });
    this.#cache.delete(image.id);
  }

  /** Forgets an image with its names and layers. */
  delete(id: Digest): void {
    this.#store.query("DELETE FROM images WHERE id = ?").run(id);
    this.#cache.delete(id);
  }

  /** What the records alone say: also of an image whose config is damaged. */
  factsOf(id: Digest): {
    parent: Digest | null;
    manifest: Digest | null;
    diffIds: Digest[];
  } {
    const row = this.#store
      .query<{ parent: Digest | null; manifest: Digest | null }>(
        "SELECT parent, manifest FROM images WHERE id = ?",
      )
      .get(id);
    const layers = this.#store
      .query<{ diff_id: Digest }>(
        "SELECT diff_id FROM image_layers WHERE image_id = ? ORDER BY position",
      )
      .all(id);
    return {
      parent: row?.parent ?? null,
      manifest: row?.manifest ?? null,
      diffIds: layers.map(({ diff_id }) => diff_id),
    };
  }

  /** All names of an image, tags before digests. */
  namesOf(id: Digest): string[] {
    return this.#store
      .query<{ name: string }>(
        "SELECT name FROM image_names WHERE image_id = ? ORDER BY is_digest, name",
      )
      .all(id)
      .map(({ name }) => name)
      .filter((name) => !isHiddenName(name));
  }

  children(id: Digest): Digest[] {
    return this.#store
      .query<{ id: Digest }>("SELECT id FROM images WHERE parent = ?")
      .all(id)
      .map(({ id }) => id);
  }

  /** Whose name it is; null when nobody's. */
  idOfName(name: string): Digest | null {
    return this.meantBy(name)?.id ?? null;
  }

  /** What a name stands for: an image, and the index that it is the default platform of. */
  meantBy(name: string): { readonly id: Digest; readonly index: Digest | null } | null {
    const row = this.#store
      .query<{ image_id: Digest; index_digest: Digest | null }>(
        "SELECT image_id, index_digest FROM image_names WHERE name = ?",
      )
      .get(name);
    return row ? { id: row.image_id, index: row.index_digest } : null;
  }

  /**
   * Gives a name to an image, taking it from another.
   * @param index what the name stands for, where the image is one platform of several
   */
  setName(name: string, id: Digest, now: Date, index: Digest | null = null): void {
    const { id: before = null, index: indexBefore = null } = this.meantBy(name) ?? {};
    const isDigest = name.includes("@");
    this.#store.transact(() => {
      this.#store
        .query(
          `INSERT INTO image_names (name, image_id, is_digest, index_digest) VALUES (?, ?, ?, ?)
           ON CONFLICT (name) DO UPDATE SET
             image_id = excluded.image_id, index_digest = excluded.index_digest`,
        )
        .run(name, id, isDigest ? 1 : 0, index);
      if (index !== null) this.indexes.unhide(index);
      // It stays, as an image stays that lost its last name.
      if (indexBefore !== null && indexBefore !== index && before) {
        this.indexes.hide(indexBefore, before);
      }
      if (!isDigest) {
        this.#store
          .query("UPDATE images SET last_tagged_ms = ? WHERE id = ?")
          .run(now.getTime(), id);
      }
    });
    this.#cache.delete(id);
    if (before) this.#cache.delete(before);
    if (indexBefore !== null && indexBefore !== index) this.#cache.clear();
  }

  /** Adds what is here of an index, and lets its names mean the platform that suits this host best. */
  addToIndex(index: Digest, here: Parameters<IndexRecords["add"]>[1]): void {
    this.#store.transact(() => {
      this.indexes.add(index, here);
      this.#chooseDefault(index);
    });
    this.#cache.clear();
  }

  /** Keeps an index without a name. */
  hideIndex(index: Digest, imageId: Digest): void {
    this.indexes.hide(index, imageId);
    this.#cache.clear();
  }

  /** Takes a platform out of an index; a name that meant it means another one. */
  removeFromIndex(index: Digest, imageId: Digest): void {
    this.#store.transact(() => {
      this.indexes.removeMember(index, imageId);
      this.#chooseDefault(index);
    });
    this.#cache.clear();
  }

  /** Forgets an index that has lost its last name, or never had one. */
  forgetUnnamedIndex(index: Digest): ReturnType<IndexRecords["forgetUnnamed"]> {
    this.indexes.unhide(index);
    const forgotten = this.indexes.forgetUnnamed(index);
    if (forgotten !== null) this.#cache.clear();
    return forgotten;
  }

  #chooseDefault(index: Digest): void {
    const images = this.indexes
      .members(index)
      .flatMap(({ imageId }) => this.getReadable(imageId) ?? []);
    const best = bestFor(hostPlatform(), images) ?? images[0];
    if (best) this.indexes.setDefault(index, best.id);
  }

  removeName(name: string): void {
    const before = this.idOfName(name);
    this.#store.query("DELETE FROM image_names WHERE name = ?").run(name);
    if (before) this.#cache.delete(before);
  }

  /** All names of one repository with a tag. */
  tagsOf(repository: string): string[] {
    return this.#store
      .query<{ name: string }>(
        "SELECT name FROM image_names WHERE is_digest = 0 AND name >= ? AND name < ? ORDER BY name",
      )
      .all(`${repository}:`, `${repository};`)
      .map(({ name }) => name);
  }

  /** True while some image's stack of layers goes through this one. */
  isChainUsed(chainId: Digest): boolean {
    return (
      this.#store.query("SELECT 1 FROM image_layers WHERE chain_id = ? LIMIT 1").get(chainId) !==
      null
    );
  }

  addLayerBlob({ diffId, repository, descriptor }: LayerBlob): void {
    this.#store
      .query(
        `INSERT OR REPLACE INTO layer_blobs (diff_id, repository, digest, size_bytes, media_type)
         VALUES (?, ?, ?, ?, ?)`,
      )
      .run(diffId, repository, descriptor.digest, descriptor.size, descriptor.mediaType);
  }

  layerBlobs(diffId: Digest): LayerBlob[] {
    return this.#store
      .query<{ repository: string; digest: Digest; size_bytes: number; media_type: string }>(
        "SELECT repository, digest, size_bytes, media_type FROM layer_blobs WHERE diff_id = ?",
      )
      .all(diffId)
      .map((row) => ({
        diffId,
        repository: row.repository,
        descriptor: { digest: row.digest, size: row.size_bytes, mediaType: row.media_type },
      }));
  }

  /** Forgets where layers that no image has any more lie. */
  forgetLayerBlobs(diffIds: readonly Digest[]): void {
    const forget = this.#store.query(
      `DELETE FROM layer_blobs WHERE diff_id = ?1
       AND NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = ?1)`,
    );
    for (const diffId of diffIds) forget.run(diffId);
  }

  /** The same for all that are not here either: a cache's layers have no image that would take them along. */
  forgetLostLayers(isHere: (diffId: Digest) => boolean): void {
    const loose = this.#store
      .query<{ diff_id: Digest }>(
        `SELECT DISTINCT diff_id FROM layer_blobs
         WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)`,
      )
      .all()
      .map((row) => row.diff_id);
    const lost = loose.filter((diffId) => !isHere(diffId));
    if (lost.length > 0) this.transact(() => this.forgetLayerBlobs(lost));
  }

  /** What must not be collected: configs, manifests and layers of all images. */
  needed(): { blobs: Digest[]; layers: Digest[] } {
    const blobs = this.#store
      .query<{ digest: Digest }>(
        `SELECT id AS digest FROM images
         UNION SELECT manifest FROM images WHERE manifest IS NOT NULL`,
      )
      .all();
    const layers = this.#store
      .query<{ digest: Digest }>("SELECT DISTINCT diff_id AS digest FROM image_layers")
      .all();
    return {
      blobs: [...blobs.map(({ digest }) => digest), ...this.indexes.needed()],
      layers: layers.map(({ digest }) => digest),
    };
  }

  #read(row: ImageRow): Image {
    const names = this.namesOf(row.id);
    return {
      id: row.id,
      config: this.#config(row.id),
      references: names.filter((name) => !name.includes("@")),
      repoDigests: names.filter((name) => name.includes("@")),
      sizeBytes: row.size_bytes,
      lastTagged: row.last_tagged_ms === null ? null : new Date(row.last_tagged_ms),
      parent: row.parent,
      indexes: this.indexes.containing(row.id),
    };
  }

  #config(id: Digest): ImageConfig {
    try {
      return parseImageConfig(this.#content.readDocument(id, IMAGE_CONFIG_LIMIT_BYTES));
    } catch (cause) {
      throw wrap(`image ${id} is damaged: ${sentenceOf(cause)}: pull or load it again`, cause);
    }
  }
}

/** Each layer with the id of the stack up to it. */
export function chainOf(diffIds: readonly Digest[]): { diffId: Digest; chainId: Digest }[] {
  const chain: { diffId: Digest; chainId: Digest }[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1)?.chainId;
    chain.push({ diffId, chainId: below ? chainIdOf([below, diffId]) : diffId });
  }
  return chain;
}
