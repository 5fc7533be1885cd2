/** The packet filter, in nft's language: the library where it is, else the program. */
import { openLibrary } from "./library.ts";
import type { Nftables } from "./nftables.ts";
import { openProgram } from "./program.ts";

export { openLibrary } from "./library.ts";
export { type Nftables, NftablesError, type NftablesErrorCode } from "./nftables.ts";
export { openProgram } from "./program.ts";

/** Opens the filter of the calling thread's network namespace; the library is loaded here, not before. */
export const openNftables = (): Nftables => openLibrary() ?? openProgram();
