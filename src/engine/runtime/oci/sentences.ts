/** What an OCI runtime wrote into its log, as the sentence Docker makes of it. Pure. */
import { type BirthFailure, RuntimeError } from "../driver.ts";

interface LogLine {
  readonly level?: string;
  readonly msg?: string;
}

/** The last error of a JSON log, in Go's words; the program's stderr where it wrote none. */
export function errorOf(log: string, stderr: string): string {
  const errors = log.split("\n").flatMap((line): string[] => {
    try {
      const { level, msg } = JSON.parse(line) as LogLine;
      return level === "error" && msg !== undefined ? [msg] : [];
    } catch {
      return [];
    }
  });
  return inGoWords(errors.at(-1) ?? (stderr.trim() || "the runtime ended without saying why"));
}

const systemErrors = [
  "No such file or directory",
  "Permission denied",
  "Not a directory",
  "Is a directory",
  "Exec format error",
  "Operation not permitted",
  "Invalid argument",
  "Read-only file system",
];

/** crun speaks as C does; clients know runc's sentences, and choose exit codes by them. */
function inGoWords(message: string): string {
  const program = /executable file `([^`]*)` not found in \$PATH/.exec(message)?.[1];
  if (program?.includes("/")) {
    return `exec: ${JSON.stringify(program)}: stat ${program}: no such file or directory`;
  }
  if (program !== undefined) {
    return `exec: ${JSON.stringify(program)}: executable file not found in $PATH`;
  }
  // A directory or another file without the x bit; CAP_DAC_OVERRIDE turns crun's EACCES into this.
  if (message === "open executable: Operation not permitted") {
    return "open executable: permission denied";
  }
  return systemErrors.reduce((text, words) => text.replaceAll(words, words.toLowerCase()), message);
}

/** How a client will read it: the docker CLI picks 127 and 126 by these words. */
function failureOf(message: string): BirthFailure {
  if (
    /executable file .*not found|exec: .*no such file or directory|open executable: No such file/i.test(
      message,
    )
  )
    return "notFound";
  if (/permission denied|is a directory|exec format error/i.test(message)) return "notExecutable";
  return "failed";
}

export const createError = (message: string): RuntimeError =>
  new RuntimeError(
    failureOf(message),
    `failed to create task for container: failed to create shim task: OCI runtime create failed: ${message}: unknown`,
  );

export const execError = (message: string): RuntimeError =>
  new RuntimeError(failureOf(message), `OCI runtime exec failed: ${message}: unknown`);
