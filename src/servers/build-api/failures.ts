/** What went wrong, as gRPC and buildx have it: a code, a sentence, and the lines of the Dockerfile that it is about. */
import { kindOf, sentenceOf } from "#base";
import { StepFailed } from "#engine/build";
import { type GrpcDetail, GrpcFailure, GRPC_STATUS } from "#wire/grpc";

import type { Progress } from "./progress.ts";

const SOURCE_TYPE = "github.com/moby/buildkit/errdefs.Source+json";
const SUBREQUEST_TYPE = "github.com/moby/buildkit/errdefs.Subrequest+json";

/**
 * A failure goes into headers, twice encoded, and of headers nobody takes more than 64 KiB: so much of a sentence, and
 * of a Dockerfile that is longer only what stands around the fault.
 */
const MESSAGE_LIMIT = 6000;
const SOURCE_LIMIT = 8 * 1024;
const NEAR = 8;
const SHOWN_LINES = 40;
const SHOWN_COLUMNS = 200;

/** The beginning and the end, where the exit code is. */
const shortened = (text: string): string =>
  text.length <= MESSAGE_LIMIT ? text : `${text.slice(0, 4000)} … ${text.slice(-1000)}`;

/** Lines keep their numbers. */
function around(
  text: string,
  { startLine, endLine }: { readonly startLine: number; readonly endLine: number },
): string {
  if (text.length <= SOURCE_LIMIT) return text;
  const last = Math.min(endLine + NEAR, startLine + SHOWN_LINES);
  return text
    .split("\n", last)
    .map((line, index) => (index + 1 < startLine - NEAR ? "" : line.slice(0, SHOWN_COLUMNS)))
    .join("\n");
}

/** In BuildKit's words where it has its own. */
export function describedFailure(error: unknown): string {
  if (error instanceof StepFailed) {
    const command = error.command.join(" ");
    const why = error.message.includes("out of memory") ? ": cannot allocate memory" : "";
    return `process ${JSON.stringify(command)} did not complete successfully: exit code: ${error.exitCode}${why}`;
  }
  return sentenceOf(error);
}

/** @param progress of the build that failed; null where there is none */
export function failureFrom(error: unknown, progress: Progress | null): GrpcFailure {
  if (error instanceof GrpcFailure) return error;
  if (error instanceof Error && error.name === "AbortError") return cancelled();
  const code = kindOf(error) === "notImplemented" ? GRPC_STATUS.unimplemented : GRPC_STATUS.unknown;
  const message = shortened(describedFailure(error));
  return new GrpcFailure(code, message, progress === null ? [] : linesOf(progress));
}

export const cancelled = (): GrpcFailure =>
  new GrpcFailure(GRPC_STATUS.cancelled, "context canceled");

function linesOf({ source, fault }: Progress): GrpcDetail[] {
  if (fault === null || source.text === "") return [];
  const { startLine, endLine } = fault;
  const text = around(source.text, fault);
  if (text.length > 2 * SOURCE_LIMIT) return [];
  const value = {
    info: {
      filename: source.filename,
      data: Buffer.from(text).toString("base64"),
      language: "Dockerfile",
    },
    ranges: [{ start: { line: startLine, character: 0 }, end: { line: endLine, character: 0 } }],
  };
  return [{ typeUrl: SOURCE_TYPE, value: new TextEncoder().encode(JSON.stringify(value)) }];
}

/** For LLB: there is no solver for graphs of clients here. */
export const unsupportedGraph = (): GrpcFailure =>
  new GrpcFailure(
    GRPC_STATUS.unimplemented,
    "build graphs (LLB) of clients are not supported by this engine: builds go through the Dockerfile frontend",
  );

/** For a question about a Dockerfile that is not answered here. */
export function unsupportedSubrequest(name: string): GrpcFailure {
  const value = new TextEncoder().encode(JSON.stringify({ name }));
  return new GrpcFailure(GRPC_STATUS.unimplemented, `unsupported request ${name}`, [
    { typeUrl: SUBREQUEST_TYPE, value },
  ]);
}
