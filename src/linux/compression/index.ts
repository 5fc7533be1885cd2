/** Compressed streams that the runtime does not read itself: bzip2 and xz, through the libraries of the system. */
export { bunzip2, unxz } from "./stream.ts";
