/** Why a start failed: the exit code it shows, and the error its caller gets. Pure. */
import { EngineError, type ErrorKind, kindOf, sentenceOf } from "#base";
import type { BirthFailure } from "#engine/runtime";

export interface StartFailure {
  /** 127: not found, 126: not executable, 128: anything else. */
  readonly exitCode: number;
  readonly sentence: string;
  readonly kind: ErrorKind;
}

/** Any error with the runtime's word for what failed: RuntimeError itself, or one that came over the wire. */
const failureOf = (cause: unknown): BirthFailure | null => {
  const failure = (cause as { failure?: unknown } | null)?.failure;
  return failure === "notFound" || failure === "notExecutable" || failure === "failed"
    ? failure
    : null;
};

export function startFailureOf(cause: unknown): StartFailure {
  const sentence = sentenceOf(cause);
  switch (failureOf(cause)) {
    // Docker answers these two with 400, and the CLI picks its exit code by the words.
    case "notFound":
      return { exitCode: 127, sentence, kind: "invalid" };
    case "notExecutable":
      return { exitCode: 126, sentence, kind: "invalid" };
    case "failed":
      return { exitCode: 128, sentence, kind: "internal" };
    case null:
      return { exitCode: 128, sentence, kind: kindOf(cause) };
  }
}

export const startError = (failure: StartFailure, cause: unknown): EngineError =>
  new EngineError(failure.kind, failure.sentence, { cause });
