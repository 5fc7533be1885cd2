/**
 * Times of log entries: RFC 3339 in UTC with exactly nine digits of nanoseconds.
 *
 * Within one writer every entry has a later time than the one before, and the last digit is never 0: so Go's
 * RFC3339Nano, which drops trailing zeros, prints the same text, and a reader that lost its place in a rotated file
 * finds it again by time. Only a clock that was wrong by more than a correction is followed back: a machine that
 * booted in the future must not tell that time until its containers end.
 */

const NANOS_PER_SECOND = 1_000_000_000;
const DRIFT_LIMIT_NANOS = 2_000_000;
/** What NTP sets a running clock back by is less. */
const BACK_LIMIT_SECONDS = 10;

/** The time of day of `Bun.nanoseconds() === 0`, corrected whenever the wall clock moves. */
let originMs = Date.now() - Bun.nanoseconds() / 1e6;

/** Now, as whole seconds and nanoseconds: a float cannot hold both in one. */
function now(): { seconds: number; nanos: number } {
  const wallMs = Date.now();
  const elapsedNanos = Bun.nanoseconds();
  let ms = originMs + elapsedNanos / 1e6;
  if (Math.abs(ms - wallMs) * 1e6 > DRIFT_LIMIT_NANOS) {
    originMs = wallMs - elapsedNanos / 1e6;
    ms = wallMs;
  }
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: Math.floor((ms - seconds * 1000) * 1e6) };
}

/** Makes the times of one log's entries, as the 30 bytes that stand in the line. */
export class EntryClock {
  /** The time of the current entry: overwritten by the next one. */
  readonly bytes = new TextEncoder().encode("1970-01-01T00:00:00.000000001Z");
  #seconds = 0;
  #nanos = 1;

  /** Looks at the clock: once a batch is enough. */
  read(): void {
    const { seconds, nanos } = now();
    const wasWrong = seconds < this.#seconds - BACK_LIMIT_SECONDS;
    const isBehind = seconds < this.#seconds || (seconds === this.#seconds && nanos <= this.#nanos);
    if (isBehind && !wasWrong) return;
    if (seconds !== this.#seconds) this.#setSeconds(seconds);
    this.#nanos = nanos;
  }

  /** Writes the next entry's time into `bytes`. */
  next(): void {
    this.#nanos += this.#nanos % 10 === 9 ? 2 : 1;
    if (this.#nanos >= NANOS_PER_SECOND) {
      this.#setSeconds(this.#seconds + 1);
      this.#nanos = 1;
    }
    let rest = this.#nanos;
    for (let index = 28; index > 19; index -= 1) {
      this.bytes[index] = 0x30 + (rest % 10);
      rest = (rest / 10) | 0;
    }
  }

  #setSeconds(seconds: number): void {
    this.#seconds = seconds;
    new TextEncoder().encodeInto(new Date(seconds * 1000).toISOString().slice(0, 19), this.bytes);
  }
}

/** Nanoseconds since 1970 as the text that entries carry. */
export function timeText(nanosSinceEpoch: bigint): string {
  const bounded = nanosSinceEpoch < 0n ? 0n : nanosSinceEpoch;
  const seconds = bounded / BigInt(NANOS_PER_SECOND);
  const nanos = bounded % BigInt(NANOS_PER_SECOND);
  // 9999-12-31: a later `until` means "never", and its text must still compare as one.
  const whole = Number(seconds > 253_402_300_799n ? 253_402_300_799n : seconds);
  const day = new Date(whole * 1000).toISOString().slice(0, 19);
  return `${day}.${nanos.toString().padStart(9, "0")}Z`;
}

/** Now, in that form. */
export function timeNow(): string {
  const { seconds, nanos } = now();
  return timeText(BigInt(seconds) * BigInt(NANOS_PER_SECOND) + BigInt(nanos));
}

/** A recorded time with all nine digits, as Docker's RFC3339Nano may have dropped some; null when it is none. */
export function fullTime(text: string): string | null {
  if (text.length === 30 && text.endsWith("Z")) return text;
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (match === null) return null;
  const [, day = "", nanos = "", zone = "Z"] = match;
  const utc = zone === "Z" ? day : new Date(`${day}${zone}`).toISOString().slice(0, 19);
  return `${utc}.${nanos.padEnd(9, "0")}Z`;
}
