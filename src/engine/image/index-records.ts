/**
 * Which platforms of an index are here. An index lives as long as some name stands for it; its images are images
 * like others, listed under its names instead of by themselves. An index that has no name, or lost its last one to
 * another image, keeps one that nobody can say.
 */
import type { Store } from "#engine/store";
import type { Digest } from "#oci";

/** One platform of an index that is here. */
export interface IndexMember {
  readonly manifest: Digest;
  readonly imageId: Digest;
}

/** No repository is called so. */
const NOBODYS = "<none>@";

/** True for a name that only keeps an index. */
export const isHiddenName = (name: string): boolean => name.startsWith(NOBODYS);

export class IndexRecords {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Adds what is here of an index, to what was here before. */
  add(index: Digest, here: { members: readonly IndexMember[]; blobs: Iterable<Digest> }): void {
    const addMember = this.#store.query(
      "INSERT OR REPLACE INTO index_images (index_digest, manifest, image_id) VALUES (?, ?, ?)",
    );
    for (const { manifest, imageId } of here.members) addMember.run(index, manifest, imageId);
    const addBlob = this.#store.query(
      "INSERT OR IGNORE INTO index_blobs (index_digest, digest) VALUES (?, ?)",
    );
    for (const digest of here.blobs) addBlob.run(index, digest);
  }

  members(index: Digest): IndexMember[] {
    return this.#store
      .query<{ manifest: Digest; image_id: Digest }>(
        "SELECT manifest, image_id FROM index_images WHERE index_digest = ?",
      )
      .all(index)
      .map(({ manifest, image_id: imageId }) => ({ manifest, imageId }));
  }

  blobs(index: Digest): Digest[] {
    return this.#store
      .query<{ digest: Digest }>("SELECT digest FROM index_blobs WHERE index_digest = ?")
      .all(index)
      .map(({ digest }) => digest);
  }

  /** The indexes an image is a platform of. */
  containing(imageId: Digest): Digest[] {
    return this.#store
      .query<{ index_digest: Digest }>(
        "SELECT DISTINCT index_digest FROM index_images WHERE image_id = ?",
      )
      .all(imageId)
      .map(({ index_digest: index }) => index);
  }

  /** Keeps an index that no name stands for. */
  hide(index: Digest, imageId: Digest): void {
    if (this.namesOf(index).length > 0) return;
    this.#store
      .query(
        `INSERT INTO image_names (name, image_id, is_digest, index_digest) VALUES (?, ?, 1, ?)`,
      )
      .run(`${NOBODYS}${index}`, imageId, index);
  }

  /** A name stands for it now, or it is to go. */
  unhide(index: Digest): void {
    this.#store.query("DELETE FROM image_names WHERE name = ?").run(`${NOBODYS}${index}`);
  }

  /** The indexes without names that an image is the default platform of. */
  hiddenOf(imageId: Digest): Digest[] {
    return this.#store
      .query<{ index_digest: Digest }>(
        `SELECT index_digest FROM image_names
         WHERE image_id = ? AND name >= '${NOBODYS}' AND name < '<none>A'`,
      )
      .all(imageId)
      .map(({ index_digest: index }) => index);
  }

  /** The names that stand for an index, the hidden one among them. */
  namesOf(index: Digest): string[] {
    return this.#store
      .query<{ name: string }>("SELECT name FROM image_names WHERE index_digest = ?")
      .all(index)
      .map(({ name }) => name);
  }

  indexOfName(name: string): Digest | null {
    const row = this.#store
      .query<{ index_digest: Digest | null }>("SELECT index_digest FROM image_names WHERE name = ?")
      .get(name);
    return row?.index_digest ?? null;
  }

  /** The image of an index by its own digest, or by a manifest's in it. */
  imageOfDigest(digest: Digest): { imageId: Digest; index: Digest | null } | null {
    const named = this.#store
      .query<{ image_id: Digest }>(
        "SELECT image_id FROM image_names WHERE index_digest = ? LIMIT 1",
      )
      .get(digest);
    if (named) return { imageId: named.image_id, index: digest };
    const member = this.#store
      .query<{ image_id: Digest }>("SELECT image_id FROM index_images WHERE manifest = ? LIMIT 1")
      .get(digest);
    return member ? { imageId: member.image_id, index: null } : null;
  }

  /** Which image the names of an index mean where no platform is asked for. */
  setDefault(index: Digest, imageId: Digest): void {
    this.#store
      .query("UPDATE image_names SET image_id = ? WHERE index_digest = ?")
      .run(imageId, index);
  }

  removeBlobs(index: Digest, digests: readonly Digest[]): void {
    const remove = this.#store.query(
      "DELETE FROM index_blobs WHERE index_digest = ? AND digest = ?",
    );
    for (const digest of digests) remove.run(index, digest);
  }

  removeMember(index: Digest, imageId: Digest): void {
    this.#store
      .query("DELETE FROM index_images WHERE index_digest = ? AND image_id = ?")
      .run(index, imageId);
  }

  /** Forgets an index that no name stands for any more; its images stay. @returns what only it needed */
  forgetUnnamed(index: Digest): { members: IndexMember[]; blobs: Digest[] } | null {
    if (this.namesOf(index).length > 0) return null;
    const members = this.members(index);
    const blobs = [index, ...this.blobs(index), ...members.map(({ manifest }) => manifest)];
    this.#store.query("DELETE FROM index_images WHERE index_digest = ?").run(index);
    this.#store.query("DELETE FROM index_blobs WHERE index_digest = ?").run(index);
    return { members, blobs };
  }

  /** Documents that must not be collected. */
  needed(): Digest[] {
    return this.#store
      .query<{ digest: Digest }>(
        `SELECT index_digest AS digest FROM image_names WHERE index_digest IS NOT NULL
         UNION SELECT manifest FROM index_images
         UNION SELECT digest FROM index_blobs`,
      )
      .all()
      .map(({ digest }) => digest);
  }
}
