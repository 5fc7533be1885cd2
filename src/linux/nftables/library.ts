/** libnftables.so.1 in this process. Source: libnftables(3). */
import { dlopen, FFIType, type Pointer } from "bun:ffi";

import { cstring } from "#linux/ffi";

import { type Nftables, NftablesError, objectsIn } from "./nftables.ts";

const NFT_CTX_OUTPUT_JSON = 1 << 4;
const NFT_CTX_OUTPUT_TERSE = 1 << 11;

const { i32, ptr, u32 } = FFIType;
const { cstring: text, void: nothing } = FFIType;
const signatures = {
  nft_ctx_new: { args: [u32], returns: ptr },
  nft_ctx_free: { args: [ptr], returns: nothing },
  nft_ctx_output_set_flags: { args: [ptr, u32], returns: nothing },
  nft_ctx_buffer_output: { args: [ptr], returns: i32 },
  nft_ctx_buffer_error: { args: [ptr], returns: i32 },
  nft_ctx_get_output_buffer: { args: [ptr], returns: text },
  nft_ctx_get_error_buffer: { args: [ptr], returns: text },
  nft_run_cmd_from_buffer: { args: [ptr, ptr], returns: i32 },
} as const;

type Library = ReturnType<typeof dlopen<typeof signatures>>["symbols"];
let loaded: Library | null | undefined;

function load(): Library | null {
  if (loaded !== undefined) return loaded;
  try {
    loaded = dlopen("libnftables.so.1", signatures).symbols;
  } catch {
    loaded = null; // Not installed: the caller takes the program instead.
  }
  return loaded;
}

/** null where the library is missing. Its socket belongs to the network namespace of the calling thread. */
export function openLibrary(): Nftables | null {
  const library = load();
  if (!library) return null;
  const context = library.nft_ctx_new(0);
  if (typeof context !== "number") return null;
  library.nft_ctx_buffer_output(context);
  library.nft_ctx_buffer_error(context);
  return new LibraryNftables(library, context);
}

class LibraryNftables implements Nftables {
  readonly #library: Library;
  #context: Pointer | null;

  constructor(library: Library, context: Pointer) {
    this.#library = library;
    this.#context = context;
  }

  apply(commands: readonly string[]): void {
    this.#run(commands, 0);
  }

  list(command: string): Record<string, unknown>[] {
    return objectsIn(this.#run([command], NFT_CTX_OUTPUT_JSON));
  }

  outline(command: string): Record<string, unknown>[] {
    return objectsIn(this.#run([command], NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_TERSE));
  }

  [Symbol.dispose](): void {
    if (this.#context !== null) this.#library.nft_ctx_free(this.#context);
    this.#context = null;
  }

  #run(commands: readonly string[], flags: number): string {
    if (this.#context === null) throw new NftablesError(commands, "closed");
    this.#library.nft_ctx_output_set_flags(this.#context, flags);
    const input = cstring(`${commands.join("\n")}\n`);
    const result = this.#library.nft_run_cmd_from_buffer(this.#context, input);
    // Reading a buffer also empties it: both are read every time.
    const output = String(this.#library.nft_ctx_get_output_buffer(this.#context));
    const errors = String(this.#library.nft_ctx_get_error_buffer(this.#context));
    if (result !== 0) throw new NftablesError(commands, errors);
    return output;
  }
}
