/** Questions to the person at the terminal. */
import { readSome, STDERR, STDIN, STDOUT, writeAll } from "./stdio.ts";

/** One line of input, without its end. */
export function prompt(question: string, { to = STDERR }: { to?: number } = {}): string {
  writeAll(to, question);
  const bytes: number[] = [];
  const one = new Uint8Array(1);
  while (readSome(STDIN, one) === 1 && one[0] !== 10) bytes.push(one[0] ?? 0);
  return new TextDecoder().decode(Uint8Array.from(bytes)).trim();
}

/** Docker's question before something is lost; only `y` is yes. */
export const confirm = (warning: string): boolean =>
  prompt(`${warning}\nAre you sure you want to continue? [y/N] `, { to: STDOUT }).toLowerCase() ===
  "y";
