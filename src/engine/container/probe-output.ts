/** What a probe prints: the beginning is kept, the rest is read slowly and dropped, so that nobody drowns in it. */
import { OUTPUT_LIMIT_BYTES } from "#engine/health";

/** Read at full speed; beyond it a probe is no message any more. */
const FAST_BYTES = 256 * 1024;
/** The pause after each chunk beyond that: some 10 MB/s, a few per cent of a core. */
const PAUSE_MS = 20;
const FRAME_HEAD_BYTES = 8;

export class ProbeOutput {
  #kept = new Uint8Array(0);
  #isTruncated = false;
  /** Bytes of the current frame that are still to come, and its head as far as it has come. */
  #frameRest = 0;
  #head: number[] = [];

  /** The text so far, with "..." where it was cut. */
  get text(): string {
    return `${new TextDecoder().decode(this.#kept)}${this.#isTruncated ? "..." : ""}`;
  }

  /** Reads multiplexed frames to their end; resolves, never rejects. */
  async drain(frames: ReadableStream<Uint8Array>): Promise<void> {
    let total = 0;
    try {
      for await (const chunk of frames) {
        this.push(chunk);
        total += chunk.length;
        if (total > FAST_BYTES) await Bun.sleep(PAUSE_MS);
      }
    } catch {
      // The supervisor went away: what was read is what there is.
    }
  }

  /** Bytes of multiplexed frames, cut anywhere. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#frameRest > 0) {
        const part = chunk.subarray(at, at + this.#frameRest);
        this.#keep(part);
        this.#frameRest -= part.length;
        at += part.length;
        continue;
      }
      this.#head.push(chunk[at] ?? 0);
      at += 1;
      if (this.#head.length < FRAME_HEAD_BYTES) continue;
      const [, , , , a = 0, b = 0, c = 0, d = 0] = this.#head;
      this.#frameRest = a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
      this.#head = [];
    }
  }

  #keep(part: Uint8Array): void {
    const room = OUTPUT_LIMIT_BYTES - this.#kept.length;
    if (part.length > room) this.#isTruncated = true;
    if (room <= 0) return;
    this.#kept = Buffer.concat([this.#kept, part.subarray(0, room)]);
  }
}
