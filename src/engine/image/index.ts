/** Names to images: pull, push, tag, save, load. */
export type * from "./image-service.ts";
export { imageMigrations } from "./migrations.ts";
export { type ImageServiceOptions, openImageService } from "./service.ts";
