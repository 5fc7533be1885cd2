import { expect, test } from "bun:test";

import { drawBuild } from "./live-view.ts";
import { BuildProgress } from "./progress.ts";

const frame = (
  progress: BuildProgress,
  options: { nowMs: number; columns: number; rows: number; ended?: boolean },
) =>
  drawBuild({
    progress,
    nowMs: options.nowMs,
    size: { rows: options.rows, columns: options.columns },
    coloured: false,
    ended: options.ended ?? false,
  });

function twoStages(): BuildProgress {
  let now = 0;
  const progress = new BuildProgress(() => now);
  const step = (step: number, stage: string, text: string) =>
    progress.take({ type: "step", step, total: 4, stage, text });
  step(1, "a", "FROM busybox");
  progress.take({ type: "cache", step: 1, hit: true, why: "" });
  progress.take({ type: "done", step: 1, id: null, durationMs: 12, processId: null });
  now = 1000;
  step(2, "a", "RUN make \\\n  all");
  step(3, "b", "RUN test");
  progress.take({ type: "output", step: 2, text: "one\ntwo\nthr", stderr: false });
  progress.take({ type: "output", step: 2, text: "ee\n\x1b[2Jfour", stderr: true });
  return progress;
}

test("steps that run at once are shown with their times and last lines, and nothing a terminal would obey", () => {
  expect(frame(twoStages(), { nowMs: 3500, columns: 40, rows: 20 })).toEqual([
    "[+] Building 3.5s (1/4)",
    " => CACHED [a 1/4] FROM busybox    0.0s",
    " => [a 2/4] RUN make all           2.5s",
    " => => two",
    " => => three",
    " => => four",
    " => [b 3/4] RUN test               2.5s",
  ]);
});

test("a frame has no more lines than the terminal, and none wider; the last one shows everything", () => {
  const progress = twoStages();
  const small = frame(progress, { nowMs: 3500, columns: 16, rows: 5 });
  expect(small).toHaveLength(4);
  for (const line of small) expect(line.length).toBeLessThanOrEqual(16);
  progress.fail();
  const last = frame(progress, { nowMs: 3500, columns: 40, rows: 3, ended: true });
  expect(last).toHaveLength(4);
  expect(last[2]).toStartWith(" => ERROR [a 2/4] RUN make all");
});

test("a line that overwrites itself is shown as it is by then, behind the mark of its step", () => {
  const progress = twoStages();
  progress.take({ type: "output", step: 3, text: "10%\r50%\r", stderr: false });
  const lines = frame(progress, { nowMs: 3500, columns: 40, rows: 20 });
  expect(lines.at(-1)).toBe(" => => 50%");
});
