/** Volumes in the JSON of Docker's Engine API 1.51. */

export interface Volume {
  CreatedAt: string;
  Driver: string;
  Labels: Record<string, string> | null;
  Mountpoint: string;
  Name: string;
  Options: Record<string, string> | null;
  Scope: "local" | "global";
  UsageData?: { RefCount: number; Size: number };
}

/** `GET /volumes`. */
export interface VolumeList {
  Volumes: Volume[];
  Warnings: string[] | null;
}

/** `POST /volumes/create`. */
export interface VolumeCreate {
  Name: string;
  Driver: string;
  DriverOpts: Record<string, string> | null;
  Labels: Record<string, string> | null;
  ClusterVolumeSpec: object | null;
}

/** `POST /volumes/prune`. */
export interface VolumePruneReport {
  VolumesDeleted: string[] | null;
  SpaceReclaimed: number;
}
