/** Names to images: pull, push, tag, save, load. */
export type { Concurrency } from "./context.ts";
export { inspectRemote, type RemoteImage, type RemoteImageRequest } from "./distribution.ts";
export type * from "./image-service.ts";
export { imageMigrations } from "./migrations.ts";
export { unpackedLayer } from "./push-image.ts";
export { type ImageServiceOptions, openImageService } from "./service.ts";
