/** What a build is doing, put together from its messages; and the views that show it. */
import { EngineError } from "#base";
import type { BuildEventMessage, BuildMessage } from "#wire/docker";

import { barOf } from "../output/progress.ts";

export interface StepState {
  readonly step: number;
  readonly total: number;
  readonly stage: string;
  readonly text: string;
  readonly startedMs: number;
  status: "running" | "cached" | "done" | "failed" | "canceled";
  durationMs: number;
  /** Why it was not in the cache; "" when it was, or nothing was said. */
  why: string;
  /** The last lines that it printed. */
  readonly log: string[];
  /** A line whose end has not come. */
  partial: string;
  /** A pull's layers on the move. */
  readonly layers: Map<string, string>;
}

/** Lines of a step that are kept, to be shown when it fails. */
const LOG_LINES = 200;
const PULL_COLUMNS = 80;

export class BuildProgress {
  readonly steps = new Map<number, StepState>();
  readonly warnings: string[] = [];
  /** What the Dockerfile's check has found. */
  readonly findings: Extract<BuildEventMessage, { type: "warning" }>[] = [];
  /** The lines of the Dockerfile that failed; "" when it was nobody's, or went well. */
  fault = "";
  readonly startedMs: number;
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.startedMs = now();
  }

  take(event: BuildEventMessage): void {
    switch (event.type) {
      case "step": {
        const { step, total, stage, text } = event;
        const fresh = { status: "running", durationMs: 0, why: "", partial: "" } as const;
        const startedMs = this.#now();
        const lists = { log: [], layers: new Map<string, string>() };
        this.steps.set(step, { step, total, stage, text, startedMs, ...fresh, ...lists });
        return;
      }
      case "warning":
        this.findings.push(event);
        this.warnings.push(`${event.rule}: ${event.message} (line ${event.line})`);
        return;
      case "notice":
        this.warnings.push(event.text.trimEnd());
        return;
      case "failed": {
        this.fault = event.excerpt;
        const state = event.step === null ? undefined : this.steps.get(event.step);
        if (state !== undefined) this.#end(state, "failed");
        return;
      }
      case "cache":
      case "running":
      case "output":
      case "progress":
      case "done": {
        const state = this.steps.get(event.step);
        if (state !== undefined) this.#inStep(state, event);
      }
    }
  }

  #inStep(
    state: StepState,
    event: Exclude<BuildEventMessage, { type: "step" | "warning" | "notice" | "failed" }>,
  ): void {
    switch (event.type) {
      case "cache":
        if (event.hit) state.status = "cached";
        else state.why = event.why;
        return;
      case "output": {
        const lines = (state.partial + event.text).split("\n");
        state.partial = (lines.pop() ?? "").slice(-4096);
        state.log.push(...lines);
        state.log.splice(0, state.log.length - LOG_LINES);
        return;
      }
      case "progress": {
        const { id = "", status = "" } = event.message;
        const bar = barOf(event.message, PULL_COLUMNS);
        if (id !== "") state.layers.set(id, `${id}: ${status}${bar === "" ? "" : ` ${bar}`}`);
        return;
      }
      case "done":
        if (state.status === "running") state.status = "done";
        state.durationMs = event.durationMs;
        return;
      case "running":
        return;
    }
  }

  /** The build has ended badly: what was going on was given up, or has failed where that is not known. */
  fail(): void {
    const isKnown = [...this.steps.values()].some(({ status }) => status === "failed");
    for (const state of this.steps.values()) {
      if (state.status === "running") this.#end(state, isKnown ? "canceled" : "failed");
    }
  }

  /** Whoever waited for it has given the build up. */
  cancel(): void {
    for (const state of this.steps.values()) {
      if (state.status === "running") this.#end(state, "canceled");
    }
  }

  #end(state: StepState, status: "failed" | "canceled"): void {
    state.status = status;
    state.durationMs = this.#now() - state.startedMs;
  }
}

/** A view of a build; `end` once, whatever happened. */
export interface BuildView {
  take(message: BuildMessage): void;
  /** Somebody else has the terminal until `resume`. */
  pause?(): void;
  resume?(): void;
  end(failed: boolean): void;
}

export const secondsOf = (durationMs: number): string => `${(durationMs / 1000).toFixed(1)}s`;

/** `[build 2/7] RUN make`; a stage without a name is called as BuildKit does, the first one not at all. */
export const titleOf = ({ stage, step, total, text }: StepState): string => {
  const oneLine = text.replaceAll(/\s*\\?\n\s*/g, " ");
  const named = /^\d+$/.test(stage) ? `stage-${stage}` : stage;
  const shown = named === "" || named === "stage-0" ? "" : `${named} `;
  return `[${shown}${step}/${total}] ${oneLine}`;
};

/** The last lines of a step that are shown again when it fails. */
const SHOWN_LOG_LINES = 20;

/** What the step that failed has printed last, and the lines of the Dockerfile that it stands on; "" for neither. */
export function failureText(progress: BuildProgress): string {
  const printed = [...progress.steps.values()]
    .filter(({ status, log, partial }) => status === "failed" && (log.length > 0 || partial !== ""))
    .map((state) => {
      const lines = state.partial === "" ? state.log : [...state.log, state.partial];
      const last = lines.slice(-SHOWN_LOG_LINES).join("\n");
      return `------\n > ${titleOf(state)}:\n${last}\n------\n`;
    });
  return printed.join("") + (progress.fault === "" ? "" : `${progress.fault}\n`);
}

/** A build that failed, with the exit code of its program. */
export class BuildFailed extends EngineError {
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super("internal", message);
    this.exitCode = exitCode;
  }
}
