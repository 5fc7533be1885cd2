/** Pseudo-terminals: a pair, its size, the peer of a master. Source: ioctl_tty(2). */
import { allocate, checked, cstring } from "#linux/ffi";

const AT_FDCWD = -100;
const O_RDWR = 0o2;
const O_NOCTTY = 0o400;
const O_CLOEXEC = 0o2000000;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;

export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** Both ends of a pty; the caller's to close. */
export interface PtyPair {
  readonly master: number;
  readonly slave: number;
}

/** A pty of the devpts instance behind `multiplexer`. @throws SyscallError */
export function openPty({ columns, rows }: WindowSize, multiplexer = "/dev/ptmx"): PtyPair {
  const flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
  const master = checked("openat", multiplexer, AT_FDCWD, cstring(multiplexer), flags, 0);
  try {
    checked("ioctl", "TIOCSPTLCK", master, TIOCSPTLCK, allocate(4));
    if (columns > 0 || rows > 0) setWindowSize(master, { columns, rows });
    return { master, slave: openPtyPeer(master) };
  } catch (thrown) {
    checked("close", "pty master", master);
    throw thrown;
  }
}

/** The slave of a master, without any path: safe whatever is mounted at /dev/pts. @throws SyscallError */
export const openPtyPeer = (master: number): number =>
  checked("ioctl", "TIOCGPTPEER", master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

/** Sets the size; the foreground processes get SIGWINCH when it changed. @throws SyscallError */
export function setWindowSize(descriptor: number, { columns, rows }: WindowSize): void {
  const size = allocate(8);
  const view = new DataView(size.buffer);
  view.setUint16(0, clamp(rows), true);
  view.setUint16(2, clamp(columns), true);
  checked("ioctl", "TIOCSWINSZ", descriptor, TIOCSWINSZ, size);
}

/** The size a terminal has now. @throws SyscallError "ENOTTY" */
export function readWindowSize(descriptor: number): WindowSize {
  const size = allocate(8);
  checked("ioctl", "TIOCGWINSZ", descriptor, TIOCGWINSZ, size);
  const view = new DataView(size.buffer);
  return { rows: view.getUint16(0, true), columns: view.getUint16(2, true) };
}

// The kernel's fields are 16 bits wide: a larger wish must not wrap to a tiny terminal.
const clamp = (cells: number): number => Math.min(Math.max(Math.trunc(cells), 0), 0xffff);
