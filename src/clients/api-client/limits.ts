/** Every bound on what a server can make a client hold. */

/** The head of one answer. */
export const HEAD_LIMIT_BYTES = 64 * 1024;
/** A JSON answer: 500 containers in a list are about 1 MB. */
export const JSON_LIMIT_BYTES = 64 * 1024 * 1024;
/** One line of a stream of JSON objects. */
export const LINE_LIMIT_BYTES = 4 * 1024 * 1024;
/** An error's body. */
export const ERROR_LIMIT_BYTES = 1024 * 1024;
/** Bytes that wait on one connection before reading from the socket pauses. */
export const RECEIVE_HIGH_WATER_BYTES = 1024 * 1024;
/** An idle connection is not used again after this: servers close theirs after 5 s (node:http). */
export const IDLE_REUSE_MS = 2000;
