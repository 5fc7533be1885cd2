/** Times as the records hold them: ISO 8601 with nanoseconds, all of one length, so as text they sort by age. */

import { nextNano } from "#base";

let lastNano = 0n;

/** Now, never the same twice: containers made in one millisecond keep their order. */
export function nowText(date: Date): string {
  lastNano = nextNano(lastNano, date);
  const seconds = new Date(Number(lastNano / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(lastNano % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** Milliseconds since 1970 of such a text; 0 for "never" and for what is no time. */
export function millisecondsOf(text: string): number {
  const parsed = Date.parse(text.replace(/(\.\d{3})\d*Z$/, "$1Z"));
  return Number.isNaN(parsed) || parsed < 0 ? 0 : parsed;
}
