/** "did you mean": the nearest of some words, when it is near. */

const NEAR = 2;

/** ` (did you mean FROM?)`, or nothing. */
export function suggestion(given: string, known: readonly string[]): string {
  let best = "";
  let bestDistance = NEAR + 1;
  // What is there was not misspelt.
  if (known.includes(given)) return "";
  for (const word of known) {
    const away = distance(given.slice(0, 64), word);
    if (away < bestDistance) [best, bestDistance] = [word, away];
  }
  return best === "" ? "" : ` (did you mean ${best}?)`;
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, change));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
