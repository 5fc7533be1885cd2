/** A file's mode as Go writes it (io/fs FileMode): the type in the highest bits, Linux's permission bits below. */
import { isType, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFSOCK } from "#linux/path";

const TYPES: readonly (readonly [type: number, bits: number])[] = [
  [S_IFDIR, 2 ** 31],
  [S_IFLNK, 2 ** 27],
  [S_IFBLK, 2 ** 26],
  [S_IFCHR, 2 ** 26 + 2 ** 21],
  [S_IFIFO, 2 ** 25],
  [S_IFSOCK, 2 ** 24],
];

const SPECIAL: readonly (readonly [bit: number, go: number])[] = [
  [0o4000, 2 ** 23],
  [0o2000, 2 ** 22],
  [0o1000, 2 ** 20],
];

export function encodeFileMode(mode: number): number {
  const type = TYPES.find(([bits]) => isType(mode, bits))?.[1] ?? 0;
  const special = SPECIAL.reduce((sum, [bit, go]) => sum + ((mode & bit) === 0 ? 0 : go), 0);
  return type + special + (mode & 0o777);
}
