/** Blobs by digest. */
export { type BlobInfo, type ContentStore, openContentStore } from "./content-store.ts";
export type { Ingest, IngestExpectation } from "./ingest.ts";
