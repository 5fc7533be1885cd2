/** Views for pipes and machines: lines in order, nothing redrawn. */
import type { BuildMessage } from "#wire/docker";

import { type BuildProgress, type BuildView, failureText, secondsOf, titleOf } from "./progress.ts";

/** One JSON document a line, as the engine told it. */
export const rawView = (write: (text: string) => void): BuildView => ({
  take: (message) => write(`${JSON.stringify(message.naru ?? message)}\n`),
  end: () => undefined,
});

/** `#3 [app 2/4] RUN make`, what it prints behind its number and time, and how it ended. */
export function plainView(
  progress: BuildProgress,
  { write, explain }: { write: (text: string) => void; explain: boolean },
): BuildView {
  /** Ends of lines that have not come, by step. */
  const partial = new Map<number, string>();
  const flush = (step: number) => {
    const rest = partial.get(step) ?? "";
    partial.delete(step);
    if (rest !== "") write(`#${step} ${rest}\n`);
  };
  return {
    take({ naru: event, stream, status }: BuildMessage) {
      if (event === undefined) return write(stream ?? (status === undefined ? "" : `${status}\n`));
      const state =
        "step" in event && event.step !== null ? progress.steps.get(event.step) : undefined;
      switch (event.type) {
        case "step":
          if (state !== undefined) write(`#${event.step} ${titleOf(state)}\n`);
          return;
        case "cache":
          if (event.hit) write(`#${event.step} CACHED\n`);
          else if (explain && event.why !== "") write(`#${event.step} not cached: ${event.why}\n`);
          return;
        case "output": {
          const lines = ((partial.get(event.step) ?? "") + event.text).split("\n");
          partial.set(event.step, lines.pop() ?? "");
          const time = secondsOf(performance.now() - (state?.startedMs ?? 0));
          for (const line of lines) write(`#${event.step} ${time} ${line}\n`);
          return;
        }
        case "done":
          flush(event.step);
          if (state?.status !== "cached") {
            write(`#${event.step} DONE ${secondsOf(event.durationMs)}\n`);
          }
          return;
        case "warning":
          return write(`WARN: ${event.rule}: ${event.message} (line ${event.line})\n`);
        case "notice":
          return write(event.text);
        case "failed":
        case "progress":
        case "running":
          return;
      }
    },
    end(failed) {
      for (const step of partial.keys()) flush(step);
      if (!failed) return;
      for (const { step, status } of progress.steps.values()) {
        if (status === "failed") write(`#${step} ERROR\n`);
        if (status === "canceled") write(`#${step} CANCELED\n`);
      }
      write(failureText(progress));
    },
  };
}
