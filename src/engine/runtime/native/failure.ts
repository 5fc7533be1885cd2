/** What a failed plan says to people, in the words that Docker and runc use: the docker CLI picks exit codes by them. */
import { errnoNumbers } from "#linux/ffi";

import { type BirthFailure, RuntimeError } from "../driver.ts";
import { type Step, stepFailure } from "./plan.ts";

const BIRTH =
  "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: ";
const EXEC = "OCI runtime exec failed: exec failed: unable to start container process: ";
const UNKNOWN = ": unknown";
const TRY_FILE =
  ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";

const { EACCES, EINVAL, EISDIR, ELIBBAD, ENOENT, ENOEXEC, ENOTDIR, EPERM, ETXTBSY } = errnoNumbers;
const notFound = new Set<number>([ENOENT, ENOTDIR]);
const notExecutable = new Set<number>([EACCES, EISDIR, ENOEXEC, ELIBBAD, ETXTBSY, EPERM]);

/** The working directory, as JSON, of a step that goes there. */
const CWD = /^chdir to cwd \((".*")\) set in config\.json failed/;

/** Which operation the sentence belongs to. */
export type Operation = "birth" | "exec" | "hook";

/** Frames a sentence as Docker's daemon would pass it on. */
export function frame(operation: Operation, sentence: string): string {
  // A hook's failure becomes part of its birth's.
  if (operation === "hook") return sentence;
  return `${operation === "birth" ? BIRTH : EXEC}${sentence}${UNKNOWN}`;
}

/** The error of a step that failed in the child. */
export function failureOf(operation: Operation, step: Step, failed: number): RuntimeError {
  // move_mount says EINVAL where mount(2), and so Docker, says ENOTDIR: a file over a directory.
  const errno = step.call === "move_mount" && failed === EINVAL ? ENOTDIR : failed;
  const directory = CWD.exec(step.context ?? "")?.[1];
  if (operation === "birth" && directory !== undefined && errno === ENOTDIR) {
    // Docker makes it before it asks its runtime, and says this alone.
    return new RuntimeError(
      "failed",
      `Cannot mkdir: ${JSON.parse(directory) as string} is not a directory`,
    );
  }
  const sentence = sentenceOf(step, errno);
  // Of an exec alone: the directory of a container is made where it is missing.
  const isExecDirectory = operation === "exec" && directory !== undefined;
  const isProgram = step.failure === "program" || isExecDirectory;
  const kind = isProgram ? programFailure(errno) : "failed";
  const isMount = step.context?.startsWith("error mounting") === true;
  const hint = errno === ENOTDIR && (isMount || isExecDirectory) ? TRY_FILE : "";
  return new RuntimeError(kind, `${frame(operation, sentence)}${hint}`);
}

function programFailure(errno: number): BirthFailure {
  if (notFound.has(errno)) return "notFound";
  return notExecutable.has(errno) ? "notExecutable" : "failed";
}

function sentenceOf(step: Step, errno: number): string {
  const { context = "", failure } = step;
  if (failure !== "program") return stepFailure(step, errno);
  if (context.endsWith("$PATH")) return context;
  if (errno === ENOEXEC) return `${context.replace(/: stat .*$/, "")}: exec format error`;
  return stepFailure(step, errno);
}
