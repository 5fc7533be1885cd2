/** From a kind of error to HTTP: the only place that knows status codes of errors. */
import { type ErrorKind, kindOf, sentenceOf } from "#base";
import type { ErrorResponse } from "#wire/docker";

const httpStatus = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  notFound: 404,
  conflict: 409,
  notModified: 304,
  notImplemented: 501,
  unavailable: 503,
  internal: 500,
} as const satisfies Record<ErrorKind, number>;

export interface ErrorAnswer {
  readonly status: number;
  /** Docker's ErrorResponse as JSON; "" for 304, which has no body. */
  readonly body: string;
}

/** What a client hears of anything that was thrown. */
export function answerOf(thrown: unknown): ErrorAnswer {
  const status = httpStatus[kindOf(thrown)];
  const message = sentenceOf(thrown) || "the engine failed without saying why";
  const answer: ErrorResponse = { message };
  return { status, body: status === 304 ? "" : `${JSON.stringify(answer)}\n` };
}
