/**
 * Signals by name and by number, as Linux on x86-64 and arm64 counts them (asm-generic/signal.h) and as
 * Docker spells them: "SIGTERM", "term", "15", "RTMIN+3", "SIGRTMAX-2".
 */

const signalNumbers = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  IOT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  STKFLT: 16,
  CHLD: 17,
  CLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  URG: 23,
  XCPU: 24,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
  IO: 29,
  POLL: 29,
  PWR: 30,
  SYS: 31,
} as const;

/** glibc's: the kernel's 32 and 33 belong to the C library. */
export const SIGRTMIN = 34;
export const SIGRTMAX = 64;
export const SIGINT = signalNumbers.INT;
export const SIGKILL = signalNumbers.KILL;
export const SIGTERM = signalNumbers.TERM;

const byName = new Map<string, number>(Object.entries(signalNumbers));
const byNumber = new Map<number, string>();
for (const [name, number] of byName) if (!byNumber.has(number)) byNumber.set(number, name);

/**
 * The number of a signal written by a person: with or without "SIG", in any case, or as a number from 1 to 64.
 * @returns null when there is no such signal (the caller has Docker's sentence for it)
 */
export function parseSignal(text: string): number | null {
  if (/^\d{1,3}$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= SIGRTMAX ? number : null;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const known = byName.get(name);
  if (known !== undefined) return known;
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realTime === null) return null;
  const [, base, sign, digits] = realTime;
  if (sign !== undefined && sign !== (base === "MIN" ? "+" : "-")) return null;
  const distance = Number(digits ?? 0);
  const number = base === "MIN" ? SIGRTMIN + distance : SIGRTMAX - distance;
  return number >= SIGRTMIN && number <= SIGRTMAX ? number : null;
}

/** "SIGTERM" for 15, "SIGRTMIN+3" for 37; null for a number that is no signal. */
export function signalName(number: number): string | null {
  const known = byNumber.get(number);
  if (known !== undefined) return `SIG${known}`;
  if (number === SIGRTMIN) return "SIGRTMIN";
  if (number === SIGRTMAX) return "SIGRTMAX";
  if (number > SIGRTMIN && number < SIGRTMAX) return `SIGRTMIN+${number - SIGRTMIN}`;
  return null;
}
