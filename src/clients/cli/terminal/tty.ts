/**
 * The terminal behind a descriptor: whether there is one, its size, raw mode. Raw mode is given back whatever
 * happens: by the caller's `using`, and by the program's exit hook.
 */
import { dlopen, FFIType } from "bun:ffi";

const { i32, u64 } = FFIType;
const open = () =>
  dlopen("libc.so.6", { ioctl: { args: [i32, u64, FFIType.ptr], returns: i32 } }).symbols;
let opened: ReturnType<typeof open> | undefined;
/** Opened at its first call: most commands never ask. */
const ioctl = (fd: number, request: number, memory: Uint8Array | Uint16Array): number =>
  (opened ??= open()).ioctl(fd, request, memory);

const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCGWINSZ = 0x5413;
const TERMIOS_BYTES = 60;
/** Offsets of the four flag words of the kernel's struct termios, then c_line and c_cc. */
const IFLAG = 0;
const OFLAG = 1;
const CFLAG = 2;
const LFLAG = 3;
const CC_OFFSET = 17;
const VTIME = 5;
const VMIN = 6;

const BRKINT = 0o2;
const IGNBRK = 0o1;
const PARMRK = 0o10;
const ISTRIP = 0o40;
const INLCR = 0o100;
const IGNCR = 0o200;
const ICRNL = 0o400;
const IXON = 0o2000;
const OPOST = 0o1;
const CSIZE = 0o60;
const PARENB = 0o400;
const CS8 = 0o60;
const ISIG = 0o1;
const ICANON = 0o2;
const ECHO = 0o10;
const ECHONL = 0o100;
const IEXTEN = 0o100000;

/** True when the descriptor is a terminal. */
export const isTerminal = (fd: number): boolean =>
  ioctl(fd, TCGETS, new Uint8Array(TERMIOS_BYTES)) === 0;

export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
}

/** The terminal's size, undefined when the descriptor is none or does not know. */
export function windowSize(fd: number): WindowSize | undefined {
  const size = new Uint16Array(4);
  if (ioctl(fd, TIOCGWINSZ, size) !== 0) return undefined;
  const [rows = 0, columns = 0] = size;
  return rows === 0 && columns === 0 ? undefined : { rows, columns };
}

export interface RestoredTerminal extends Disposable {
  /** Puts the terminal back as it was; twice does nothing. */
  restore(): void;
}

const restorers = new Set<() => void>();

/** Makes a terminal raw (no echo, no line editing, no signals of keys). Does nothing where there is no terminal. */
export function makeRaw(fd: number): RestoredTerminal {
  return change(fd, (flags, control) => {
    flags[IFLAG] =
      word(flags, IFLAG) & ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    flags[OFLAG] = word(flags, OFLAG) & ~OPOST;
    flags[LFLAG] = word(flags, LFLAG) & ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    flags[CFLAG] = (word(flags, CFLAG) & ~(CSIZE | PARENB)) | CS8;
    control[VMIN] = 1;
    control[VTIME] = 0;
  });
}

/** Stops what is typed from being shown: for passwords. */
export const hideInput = (fd: number): RestoredTerminal =>
  change(fd, (flags) => {
    flags[LFLAG] = word(flags, LFLAG) & ~ECHO;
  });

/** For the end of the program: every terminal that is still changed is put back. */
export function restoreTerminals(): void {
  for (const restore of restorers) restore();
}

const word = (flags: Uint32Array, index: number): number => flags[index] ?? 0;

function change(
  fd: number,
  edit: (flags: Uint32Array, control: Uint8Array) => void,
): RestoredTerminal {
  const before = new ArrayBuffer(TERMIOS_BYTES);
  if (ioctl(fd, TCGETS, new Uint8Array(before)) !== 0) {
    return { restore: () => undefined, [Symbol.dispose]: () => undefined };
  }
  const after = before.slice(0);
  edit(new Uint32Array(after, 0, 4), new Uint8Array(after, CC_OFFSET));
  ioctl(fd, TCSETS, new Uint8Array(after));
  const restore = () => {
    if (restorers.delete(restore)) ioctl(fd, TCSETS, new Uint8Array(before));
  };
  restorers.add(restore);
  return { restore, [Symbol.dispose]: restore };
}
