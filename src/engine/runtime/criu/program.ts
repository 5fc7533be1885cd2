/** criu: another program, as OCI runtimes are, which writes processes down as files and makes them again. */
import { readFileSync } from "node:fs";

import { RuntimeError } from "../driver.ts";

/** What is read of a log's end, and said of it. */
const LOG_TAIL_BYTES = 64 * 1024;
const SENTENCE_LIMIT = 1000;

/** What it tells of as an error and does without. */
const ATTEMPTS = /tun: Unable to create tun|rlimit: Can't setup RLIMIT_NOFILE/;

/** Its path. @throws RuntimeError in runc's words where it is not installed */
export function findCriu(): string {
  const program = Bun.which("criu", { PATH: searchPath() });
  if (program !== null) return program;
  throw new RuntimeError(
    "failed",
    'CRIU version check failed: exec: "criu": executable file not found in $PATH',
  );
}

/** What it is born with: it runs tar, and looks for nothing else of ours. */
export const criuEnvironment = (): string[] => [`PATH=${searchPath()}`];

const searchPath = (): string => process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin";

/** Why it failed, from its own log: the last error that it tells of. */
export function criuError(log: string, exitCode: number): RuntimeError {
  const said = lastError(readTail(log));
  return new RuntimeError(
    "failed",
    `criu failed: exit status ${exitCode}${said === null ? "" : `: ${said}`}`,
  );
}

/** Pure: `(00.012345) Error (criu/files.c:12): why` is said without its time. */
export function lastError(text: string): string | null {
  const lines = text.split("\n").flatMap((line) => {
    const [, sentence] = /^(?:\([\d.]+\)\s*)?(?:\d+:\s*)?(Error \(.*)$/.exec(line) ?? [];
    return sentence === undefined ? [] : [sentence];
  });
  // The first one that is not a mere attempt is the cause: what follows is how the others gave up.
  const cause = lines.find((line) => !ATTEMPTS.test(line)) ?? lines[0];
  return cause?.slice(0, SENTENCE_LIMIT) ?? null;
}

function readTail(path: string): string {
  try {
    return readFileSync(path).subarray(-LOG_TAIL_BYTES).toString("utf8");
  } catch {
    // It ended before it could write one.
    return "";
  }
}
