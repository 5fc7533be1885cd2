/**
 * A RUN that failed, before it is cleaned up: a person may look around in a shell, in what it has changed, with its
 * environment, folder, user, mounts and network. The build fails when they have left.
 */
import { newId, sentenceOf } from "#base";
import type { ProcessStreams, StepRequest } from "#engine/container";

import type { Context } from "./context.ts";

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export interface FailedRun {
  /** What went wrong, for the person. */
  readonly sentence: string;
  /** Starts the shell, once. It is killed when the visit ends. @throws EngineError when there is none in the image */
  enter(size: TerminalSize): Promise<ProcessStreams>;
  resize(size: TerminalSize): Promise<void>;
}

/** Resolves when nobody wants to stay. */
export type OnFailedRun = (run: FailedRun, signal: AbortSignal) => Promise<void>;

/** The visits of one build: there is one at most, and what fails meanwhile waits for its end. */
export class Visits {
  #visit: Promise<void> | null = null;

  async begin(visit: () => Promise<void>): Promise<void> {
    this.#visit ??= visit().catch(() => undefined);
    await this.#visit;
  }

  async ended(): Promise<void> {
    await this.#visit;
  }
}

export interface VisitRequest {
  readonly onFailedRun: OnFailedRun;
  readonly failure: Error;
  /** What failed: its process has ended and given back all but its snapshot and the mounts' sources. */
  readonly failed: StepRequest;
  readonly shell: string;
}

export async function visitFailed(context: Context, request: VisitRequest): Promise<void> {
  const { failed, failure, onFailedRun, shell } = request;
  const id = newId();
  const leave = new AbortController();
  const signal = AbortSignal.any([failed.signal, leave.signal]);
  let shellEnded: Promise<unknown> = Promise.resolve();
  const enter = (size: TerminalSize): Promise<ProcessStreams> => {
    const { promise, resolve, reject } = Promise.withResolvers<ProcessStreams>();
    const terminal = { ...size, onStreams: resolve };
    const process = { ...failed, id, command: [shell], terminal, signal };
    shellEnded = context.containers.runStep(process).then(({ released }) => released);
    shellEnded.catch(reject);
    return promise;
  };
  const resize = (size: TerminalSize) => context.containers.resizeStep(id, size);
  try {
    await onFailedRun({ sentence: sentenceOf(failure), enter, resize }, failed.signal);
  } finally {
    leave.abort(new Error("the shell was left"));
    await shellEnded.catch(() => undefined);
  }
}
