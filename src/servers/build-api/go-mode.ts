/** File modes as Go has them. Source: io/fs, FileMode. */
import type { FolderEntry } from "#engine/build";

const DIRECTORY = 0x80000000;
const SYMLINK = 1 << 27;
const DEVICE = 1 << 26;
const FIFO = 1 << 25;
const SOCKET = 1 << 24;
const SETUID = 1 << 23;
const SETGID = 1 << 22;
const CHARACTER = 1 << 21;
const STICKY = 1 << 20;
const IRREGULAR = 1 << 19;
const TYPES = DIRECTORY | SYMLINK | DEVICE | FIFO | SOCKET | CHARACTER | IRREGULAR;

type Type = FolderEntry["type"];

/** null for a socket, and for what no archive holds. */
export function typeOfGoMode(mode: number): Type | null {
  const type = (mode & TYPES) >>> 0;
  if (type === 0) return "file";
  if (type === DIRECTORY) return "directory";
  if (type === SYMLINK) return "symlink";
  if (type === (DEVICE | CHARACTER)) return "character";
  if (type === DEVICE) return "block";
  return type === FIFO ? "fifo" : null;
}

export const permissionsOfGoMode = (mode: number): number =>
  (mode & 0o777) |
  ((mode & SETUID) === 0 ? 0 : 0o4000) |
  ((mode & SETGID) === 0 ? 0 : 0o2000) |
  ((mode & STICKY) === 0 ? 0 : 0o1000);

const goTypes: Readonly<Record<Type, number>> = {
  file: 0,
  directory: DIRECTORY,
  symlink: SYMLINK,
  character: DEVICE | CHARACTER,
  block: DEVICE,
  fifo: FIFO,
};

export const goModeOf = (type: Type, mode: number): number =>
  (goTypes[type] |
    (mode & 0o777) |
    ((mode & 0o4000) === 0 ? 0 : SETUID) |
    ((mode & 0o2000) === 0 ? 0 : SETGID) |
    ((mode & 0o1000) === 0 ? 0 : STICKY)) >>>
  0;
