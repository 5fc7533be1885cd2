/**
 * Where in the Dockerfile a build went wrong: its lines with their numbers, those at fault marked, some around them,
 * as BuildKit's clients draw it. Errors stay what they are; what is known of their place is kept beside them.
 */
import type { Location } from "#engine/build/dockerfile";
import { FaultyLine } from "#engine/build/dockerfile";

export interface Fault {
  readonly location: Location;
  /** The step that failed; null when nothing had begun. */
  readonly step: number | null;
}

/** What is known of the errors of one build. */
export class Faults {
  readonly #known = new WeakMap<object, Fault>();

  /** The first word on an error counts: it was nearest. */
  blame(cause: unknown, fault: Fault): void {
    if (typeof cause !== "object" || cause === null || this.#known.has(cause)) return;
    this.#known.set(cause, fault);
  }

  of(cause: unknown): Fault | null {
    if (typeof cause !== "object" || cause === null) return null;
    const known = this.#known.get(cause);
    if (known !== undefined) return known;
    return cause instanceof FaultyLine ? { location: cause.location, step: null } : null;
  }
}

/** Lines shown around one line, and around several. */
const AROUND_ONE = 2;
const AROUND_SEVERAL = 1;
/** Of an instruction with more lines, as a heredoc may have, the first are shown. */
const SHOWN_LINES = 24;
const SHOWN_COLUMNS = 400;
const RULE = "-".repeat(20);

/** `Dockerfile:3`, and below it the lines. */
export function drawFault(
  { file, lines }: { readonly file: string; readonly lines: readonly string[] },
  { startLine, endLine }: Location,
): string {
  const last = Math.min(Math.max(startLine, endLine), lines.length);
  const around = last > startLine ? AROUND_SEVERAL : AROUND_ONE;
  const to = Math.min(last, startLine + SHOWN_LINES - 1);
  const drawn: string[] = [];
  for (let line = Math.max(1, startLine - around); line <= lines.length; line += 1) {
    if (line > to + around) break;
    const mark = line >= startLine && line <= last ? ">>>" : "   ";
    drawn.push(`${String(line).padStart(4)} | ${mark} ${printable(lines[line - 1] ?? "")}`);
  }
  return [`${file}:${startLine}`, RULE, ...drawn, RULE].join("\n");
}

/** Nothing of a Dockerfile's text is obeyed by the terminal that it is shown on. */
const printable = (line: string): string =>
  line
    .slice(0, SHOWN_COLUMNS)
    // oxlint-disable-next-line no-control-regex -- that is what is taken out
    .replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "?");
