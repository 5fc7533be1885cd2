/** This program again, as the daemon. */

/** A compiled binary is the program itself; from source it is Bun and the entry file. */
export function programWords(): string[] {
  const [, entry = ""] = process.argv;
  return entry.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, entry];
}

/** BUN_OPTIONS and BUN_BE_BUN change what the program is: never for one that runs as root. */
export function daemonEnvironment(): Record<string, string> {
  const { BUN_OPTIONS: _options, BUN_BE_BUN: _beBun, ...rest } = process.env;
  return rest as Record<string, string>;
}
