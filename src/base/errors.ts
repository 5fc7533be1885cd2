/**
 * What went wrong, as a kind and a sentence. Rooms throw these; each server has one table from kind
 * to its protocol, so nothing below the servers knows a status code.
 */
import { systemSentenceOf } from "./system-errors.ts";

export type ErrorKind =
  | "invalid"
  | "unauthorized"
  | "forbidden"
  | "notFound"
  | "conflict"
  | "notModified"
  | "notImplemented"
  | "unavailable"
  | "internal";

/** An error whose sentence a person or a client may read. The sentence is Docker's own where it has one. */
export class EngineError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "EngineError";
    this.kind = kind;
  }
}

export const invalid = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("invalid", message, options);
export const conflict = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("conflict", message, options);
export const forbidden = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("forbidden", message, options);
export const unauthorized = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("unauthorized", message, options);
export const notFound = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("notFound", message, options);
export const notModified = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("notModified", message, options);
export const notImplemented = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("notImplemented", message, options);
export const unavailable = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("unavailable", message, options);
export const internal = (message: string, options?: ErrorOptions): EngineError =>
  new EngineError("internal", message, options);

/** The things Docker names in "No such …" answers. */
export type Thing = "container" | "image" | "network" | "volume" | "exec instance";

/** As Docker lists what is wrong with one request: several have a star each. */
export const joinErrors = (errors: readonly string[]): string =>
  errors.length === 1 ? errors.join("") : errors.map((error) => `* ${error}`).join("\n");

/** Docker's sentence for a thing that is not there: `No such container: web`. */
export const noSuch = (thing: Thing, name: string): EngineError =>
  new EngineError("notFound", `No such ${thing}: ${name}`);

/** The sentence of any thrown value, for wrapping: `pull x: ${sentenceOf(cause)}`. A system error's is in Go's words. */
export function sentenceOf(thrown: unknown): string {
  if (thrown instanceof Error) return systemSentenceOf(thrown) ?? thrown.message;
  return String(thrown);
}

/** The kind of any thrown value; everything that is not an EngineError is "internal". */
export function kindOf(thrown: unknown): ErrorKind {
  return thrown instanceof EngineError ? thrown.kind : "internal";
}

/** The same kind with more said in front of the sentence; the cause is kept. */
export function wrap(context: string, cause: unknown): EngineError {
  return new EngineError(kindOf(cause), `${context}: ${sentenceOf(cause)}`, { cause });
}

/** A broken invariant: our own mistake, never the user's. */
export function assert(condition: unknown, broken: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${broken}`);
}
