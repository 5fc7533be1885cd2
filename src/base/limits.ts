/**
 * Every bound on what a stranger can make us hold, in one place, each with its reason.
 * A room that needs a bound of its own names it here, so an auditor reads one file.
 */

/** A JSON body of the API: Docker's own clients stay far below it. */
export const API_BODY_LIMIT_BYTES = 4 * 1024 * 1024;
/** A manifest or an index: what containerd and registries accept. */
export const MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024;
/** An image's config document. */
export const IMAGE_CONFIG_LIMIT_BYTES = 8 * 1024 * 1024;
/**
 * All documents of one attestation: a bill of materials of a large image has tens of megabytes, one with every file
 * hundreds. They are never in memory as a whole; this bounds the disk that is taken beside the image.
 */
export const ATTESTATION_LIMIT_BYTES = 1024 * 1024 * 1024;
/** Levels of nesting in a JSON document from outside. */
export const JSON_DEPTH_LIMIT = 64;
/** A pax header or a GNU long name inside a tar. */
export const TAR_EXTENSION_LIMIT_BYTES = 1024 * 1024;
/** Entries of one layer. */
export const LAYER_ENTRY_LIMIT = 4_000_000;
/** Layers of one image: overlayfs itself stops at 500 lowers. */
export const IMAGE_LAYER_LIMIT = 480;
