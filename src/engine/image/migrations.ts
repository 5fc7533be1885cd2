/** The image room's tables. Configs and manifests lie in the content store; these say what refers to what. */
import type { Migration } from "#engine/store";

export const imageMigrations: readonly Migration[] = [
  {
    id: "image/1",
    sql: `
      CREATE TABLE images (
        id TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        parent TEXT,
        last_tagged_ms INTEGER,
        -- The manifest it was pulled or loaded by, kept to be pushed again as it was.
        manifest TEXT
      ) WITHOUT ROWID;
      CREATE INDEX images_by_parent ON images (parent) WHERE parent IS NOT NULL;
      CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        diff_id TEXT NOT NULL,
        chain_id TEXT NOT NULL,
        PRIMARY KEY (image_id, position)
      ) WITHOUT ROWID;
      CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);
      CREATE INDEX image_layers_by_chain_id ON image_layers (chain_id);
      -- docker.io/library/busybox:latest, and docker.io/library/busybox@sha256:… with is_digest.
      CREATE TABLE image_names (
        name TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        is_digest INTEGER NOT NULL
      ) WITHOUT ROWID;
      CREATE INDEX image_names_by_image ON image_names (image_id);
      -- What a layer's arriving bytes were, and in which repository they are known to lie.
      CREATE TABLE layer_blobs (
        diff_id TEXT NOT NULL,
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        PRIMARY KEY (diff_id, repository, digest)
      ) WITHOUT ROWID;`,
  },
  {
    id: "image/2",
    sql: `
      -- The index a name stands for, where it stands for several platforms; image_id is the one that suits this host.
      ALTER TABLE image_names ADD COLUMN index_digest TEXT;
      CREATE INDEX image_names_by_index ON image_names (index_digest) WHERE index_digest IS NOT NULL;
      -- The platforms of an index that are here.
      CREATE TABLE index_images (
        index_digest TEXT NOT NULL,
        manifest TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (index_digest, manifest)
      ) WITHOUT ROWID;
      CREATE INDEX index_images_by_image ON index_images (image_id);
      -- Whole documents of an index that are no images, as they came: attestations and what they consist of.
      CREATE TABLE index_blobs (
        index_digest TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (index_digest, digest)
      ) WITHOUT ROWID;`,
  },
];
