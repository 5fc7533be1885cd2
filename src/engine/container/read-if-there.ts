/** Reading what a host may or may not have. */
import { readFileSync } from "node:fs";

/** A file of the host's, "" where there is none. */
export function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw thrown;
  }
}
