/** The build cache in the JSON of Docker's Engine API 1.51. */

import type { JsonMessage } from "./image.ts";

/** One record of `GET /system/df`. */
export interface BuildCache {
  ID: string;
  Parents?: string[] | null;
  /** Before API 1.42. */
  Parent?: string;
  Type: string;
  Description: string;
  InUse: boolean;
  Shared: boolean;
  Size: number;
  CreatedAt: string;
  LastUsedAt: string | null;
  UsageCount: number;
}

/** `POST /build/prune`. */
export interface BuildPruneReport {
  CachesDeleted: string[];
  SpaceReclaimed: number;
}

/** What a build of Naru tells beyond Docker's lines, when it is asked to (`events=1`). Steps count from 1. */
export type BuildEventMessage =
  | { type: "step"; step: number; total: number; stage: string; text: string }
  | { type: "cache"; step: number; hit: boolean; why: string }
  | { type: "running"; step: number; id: string }
  | { type: "output"; step: number; text: string; stderr: boolean }
  | { type: "progress"; step: number; message: JsonMessage }
  | {
      type: "done";
      step: number;
      id: string | null;
      durationMs: number;
      processId: string | null;
    }
  | { type: "warning"; rule: string; message: string; line: number; excerpt?: string }
  | { type: "notice"; text: string }
  | {
      type: "failed";
      step: number | null;
      file: string;
      startLine: number;
      endLine: number;
      excerpt: string;
    };

/** What a build needs of a client that has caches in folders of its own. */
export type CacheMessage =
  /** A piece of a cache that the client has: to be sent to `/build/cache/ID`. */
  | ({ type: "wanted" } & WantedPiece)
  /** A cache for the client to keep: its pieces are at `/build/cache/ID/DIGEST` until it says that it has them. */
  | ({ type: "offered" } & OfferedCache);

/** `cache` counts the `--cache-from` of the request; "" for the manifest. */
export interface WantedPiece {
  id: string;
  cache: number;
  digest: string;
}

/** `cache` counts the `--cache-to` of the request; the pieces hold the manifest and its config as well. */
export interface OfferedCache {
  id: string;
  cache: number;
  manifest: { mediaType: string; digest: string; size: number };
  pieces: { digest: string; size: number }[];
}

/** One line of `POST /build`. */
export interface BuildMessage extends JsonMessage {
  naru?: BuildEventMessage;
  naruCache?: CacheMessage;
  /** A folder of `--build-context` is wanted: its archive is to be sent to `/build/cache/ID`. */
  naruContext?: { id: string; name: string };
  /** A step has failed, and its client may enter it at `/build/shell/ID`. */
  naruShell?: { id: string; error: string };
}
