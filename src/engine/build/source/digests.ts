/** Digests of files by where they begin in an archive: 40 bytes each, where text in a map takes five times as much. */

const DIGEST_BYTES = 32;
const FIRST_CAPACITY = 64;

export class OffsetDigests {
  #offsets = new Float64Array(FIRST_CAPACITY);
  #digests = new Uint8Array(FIRST_CAPACITY * DIGEST_BYTES);
  #count = 0;
  #isSorted = true;
  /** Places in `#offsets` in the order of what stands there; null while that is the order they came in. */
  #order: Uint32Array | null = null;

  /** @param digest SHA-256 in hexadecimal digits; of two for one offset the later counts */
  set(offset: number, digest: string): void {
    if (this.#count === this.#offsets.length) this.#grow();
    if (this.#count > 0 && offset <= (this.#offsets[this.#count - 1] ?? 0)) this.#isSorted = false;
    this.#offsets[this.#count] = offset;
    this.#digests.set(Uint8Array.fromHex(digest), this.#count * DIGEST_BYTES);
    this.#count += 1;
    this.#order = null;
  }

  /** In hexadecimal digits; undefined for an offset that nothing was told of. */
  get(offset: number): string | undefined {
    const order = this.#isSorted ? null : (this.#order ??= this.#sorted());
    let [low, high] = [0, this.#count];
    // The last place whose offset is not larger.
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = order === null ? middle : (order[middle] ?? 0);
      if ((this.#offsets[at] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const found = order === null ? low - 1 : (order[low - 1] ?? -1);
    if (found < 0 || this.#offsets[found] !== offset) return undefined;
    return this.#digests.subarray(found * DIGEST_BYTES, (found + 1) * DIGEST_BYTES).toHex();
  }

  #sorted(): Uint32Array {
    const offsets = this.#offsets;
    const places = Uint32Array.from({ length: this.#count }, (_, index) => index);
    return places.sort((a, b) => (offsets[a] ?? 0) - (offsets[b] ?? 0) || a - b);
  }

  #grow(): void {
    const offsets = new Float64Array(this.#offsets.length * 2);
    offsets.set(this.#offsets);
    this.#offsets = offsets;
    const digests = new Uint8Array(this.#digests.length * 2);
    digests.set(this.#digests);
    this.#digests = digests;
  }
}
