/** `--chmod`: octal, or symbolic as chmod(1) has it (`u+x,go=rX`). */
import { invalid } from "#base";

import type { FileMode } from "./copy.ts";

const CLAUSE = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/;
const WHO: Readonly<Record<string, number>> = { u: 0o4700, g: 0o2070, o: 0o1007 };
const WHAT: Readonly<Record<string, number>> = { r: 0o444, w: 0o222, x: 0o111 };

const FOLDER_MODE = 0o755;

/** null for "". @throws EngineError "invalid" */
export function parseMode(text: string): FileMode | null {
  if (text === "") return null;
  if (/^[0-7]{1,5}$/.test(text)) {
    const mode = Number.parseInt(text, 8);
    if (mode > 0o7777) throw bad(text);
    return { of: () => mode, ofNewFolder: mode };
  }
  const clauses = text.split(",").map((clause) => {
    const match = CLAUSE.exec(clause);
    if (match === null) throw bad(text);
    return { who: match[1] || "a", changes: match[2] ?? "" };
  });
  const of = (mode: number, isDirectory: boolean) =>
    clauses.reduce((now, clause) => applied(now, clause, isDirectory), mode);
  // What is made on the way has no mode that could be changed.
  return { of, ofNewFolder: FOLDER_MODE };
}

const bad = (text: string): Error =>
  invalid(`invalid chmod parameter: '${text}'. it should be octal string and between 0 and 07777`);

function applied(
  mode: number,
  { who, changes }: { who: string; changes: string },
  isDirectory: boolean,
): number {
  const whole = who.includes("a") ? "ugo" : who;
  const mask = whole.split("").reduce((bits, letter) => bits | (WHO[letter] ?? 0), 0);
  let now = mode;
  for (const [, operator = "", what = ""] of changes.matchAll(/([-+=])([ugo]|[rwxXst]*)/g)) {
    const bits = bitsOf(what, now, isDirectory) & mask;
    if (operator === "+") now |= bits;
    else if (operator === "-") now &= ~bits;
    else now = (now & ~(mask & 0o777)) | bits;
  }
  return now;
}

function bitsOf(what: string, mode: number, isDirectory: boolean): number {
  const copied = { u: 6, g: 3, o: 0 }[what];
  if (copied !== undefined) return ((mode >> copied) & 7) * 0o111;
  let bits = 0;
  for (const letter of what) {
    if (letter === "X") bits |= isDirectory || (mode & 0o111) !== 0 ? 0o111 : 0;
    else if (letter === "s") bits |= 0o6000;
    else if (letter === "t") bits |= 0o1000;
    else bits |= WHAT[letter] ?? 0;
  }
  return bits;
}
