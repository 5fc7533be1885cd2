/** The key sequence that detaches (`ctrl-p,ctrl-q`): noticed on this side, so that nobody has to guess why output ended. */
import { invalid } from "#base";
import { joinBytes } from "#base";

export const DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q";

/** The bytes of a sequence in docker's notation. @throws EngineError "invalid" */
export function parseDetachKeys(text: string): Uint8Array {
  return Uint8Array.from(text.split(",").map((key) => byteOf(key, text)));
}

function byteOf(key: string, text: string): number {
  if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
  const control = /^ctrl-([a-zA-Z@[\\\]^_])$/.exec(key)?.[1];
  if (control === undefined) {
    throw invalid(`invalid detach keys (${text}): Unknown character: '${key}'`);
  }
  return control.toUpperCase().charCodeAt(0) & 0x1f;
}

/** Watches input for the sequence; bytes that might begin it wait until it is clear whether they do. */
export class DetachKeys {
  readonly #sequence: Uint8Array;
  #matched = 0;

  constructor(text: string) {
    this.#sequence = parseDetachKeys(text === "" ? DEFAULT_DETACH_KEYS : text);
  }

  /** What of a chunk may be sent, and whether the sequence is complete. */
  filter(chunk: Uint8Array): { bytes: Uint8Array; detach: boolean } {
    const parts: Uint8Array[] = [];
    let from = 0;
    for (const [at, byte] of chunk.entries()) {
      if (byte === this.#sequence[this.#matched]) {
        if (this.#matched === 0) parts.push(chunk.subarray(from, at));
        this.#matched += 1;
        from = at + 1;
        if (this.#matched === this.#sequence.length)
          return { bytes: joinBytes(parts), detach: true };
      } else if (this.#matched > 0) {
        // Not the sequence after all: what was held back is sent, and this byte is looked at anew.
        parts.push(this.#sequence.slice(0, this.#matched));
        this.#matched = byte === this.#sequence[0] ? 1 : 0;
        from = this.#matched === 1 ? at + 1 : at;
      }
    }
    parts.push(chunk.subarray(from));
    return { bytes: parts.length === 1 && parts[0] ? parts[0] : joinBytes(parts), detach: false };
  }
}
