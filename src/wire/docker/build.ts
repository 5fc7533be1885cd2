/** The build cache in the JSON of Docker's Engine API 1.51. */

/** One record of `GET /system/df`. */
export interface BuildCache {
  ID: string;
  Parents?: string[] | null;
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
