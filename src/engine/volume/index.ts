/** Volumes: data that outlives containers, of the `local` driver. */
export { fillAside } from "./fill.ts";
export { ANONYMOUS_LABEL, checkVolumeName } from "./names.ts";
export { volumeMigrations } from "./records.ts";
export { openVolumeService, type OpenVolumesRequest } from "./service.ts";
export { mountVolume } from "./options.ts";
export type * from "./volume-service.ts";
