/**
 * The keys that leave a container alone: `ctrl-p,ctrl-q` unless asked otherwise. They are looked for in what a
 * client types; a beginning that turns out to be something else is passed on, so nothing is swallowed.
 */
import { invalid } from "#base";

const DEFAULT = new Uint8Array([16, 17]);
const DEL = 127;

/** Docker's syntax: single characters, `ctrl-` with a letter or one of `@[\]^_`, or `DEL`; comma separated. */
export function parseDetachKeys(text: string, called = "detach keys"): Uint8Array {
  if (text === "") return DEFAULT;
  return Uint8Array.from(text.split(","), (key) => {
    if (key.length === 1 && key.charCodeAt(0) <= DEL) return key.charCodeAt(0);
    if (key === "DEL") return DEL;
    const control = /^ctrl-([a-z@[\]\\^_])$/.exec(key)?.[1];
    if (control === undefined) throw invalid(`Invalid ${called} (${text}) provided`);
    return control.charCodeAt(0) & 0x1f;
  });
}

/** Watches a byte stream for the sequence. */
export class DetachWatch {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /** @returns what goes on to the process, and whether the sequence is complete: then nothing after it counts */
  feed(chunk: Uint8Array): { pass: Uint8Array; detached: boolean } {
    const keys = this.#keys;
    if (keys.length === 0) return { pass: chunk, detached: false };
    if (this.#matched === 0 && !chunk.includes(keys[0] ?? 0))
      return { pass: chunk, detached: false };
    const pass: number[] = [];
    for (const byte of chunk) {
      if (byte === keys[this.#matched]) {
        this.#matched += 1;
        if (this.#matched === keys.length) return { pass: Uint8Array.from(pass), detached: true };
        continue;
      }
      for (let index = 0; index < this.#matched; index += 1) pass.push(keys[index] ?? 0);
      this.#matched = byte === keys[0] ? 1 : 0;
      if (this.#matched === 0) pass.push(byte);
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}
