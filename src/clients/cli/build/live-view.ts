/**
 * The live view of a build on a terminal: a line for every step, the last lines of what runs below it, redrawn in
 * place. Drawing is pure: state and size in, lines out, none wider than the terminal.
 */
import type { BuildMessage } from "#wire/docker";

import type { WindowSize } from "../terminal/tty.ts";
import {
  type BuildProgress,
  type BuildView,
  failureText,
  secondsOf,
  type StepState,
  titleOf,
} from "./progress.ts";

const REDRAW_MS = 100;
const TAIL_LINES = 6;
const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
const [BLUE, RED, DIM, PLAIN] = ["\x1b[34m", "\x1b[31m", "\x1b[2m", "\x1b[0m"];

export interface DrawRequest {
  readonly progress: BuildProgress;
  readonly nowMs: number;
  readonly size: WindowSize;
  readonly coloured: boolean;
  readonly ended: boolean;
}

export function drawBuild({ progress, nowMs, size, coloured, ended }: DrawRequest): string[] {
  const steps = [...progress.steps.values()].toSorted((a, b) => a.step - b.step);
  const finished = steps.filter(({ status }) => status !== "running").length;
  const total = steps[0]?.total ?? 0;
  const head = `[+] Building ${secondsOf(nowMs - progress.startedMs)} (${finished}/${total})${
    ended && finished === total ? " FINISHED" : ""
  }`;
  const running = steps.filter(({ status }) => status === "running");
  const lines: string[] = [];
  for (const state of steps) {
    lines.push(stepLine(state, { nowMs, size, coloured }));
    if (state.status !== "running" || ended) continue;
    const tail = tailOf(state, Math.max(1, Math.floor(TAIL_LINES / Math.max(1, running.length))));
    for (const line of tail) {
      lines.push(paint(fit(` => => ${asOverwritten(line)}`, size.columns), DIM, coloured));
    }
  }
  // All of it stays on the screen at the end; until then only what the terminal has room for.
  const room = size.rows - 2;
  const shown = ended ? lines : lines.slice(-Math.max(1, room));
  return [fit(head, size.columns), ...shown];
}

const WORDS = {
  running: "",
  cached: "CACHED ",
  done: "",
  failed: "ERROR ",
  canceled: "CANCELED ",
} as const satisfies Record<StepState["status"], string>;

function stepLine(
  state: StepState,
  { nowMs, size, coloured }: Pick<DrawRequest, "nowMs" | "size" | "coloured">,
): string {
  const { status } = state;
  const word = WORDS[status];
  const elapsed = status === "running" ? nowMs - state.startedMs : state.durationMs;
  const time = ` ${secondsOf(elapsed)}`;
  const title = fit(` => ${word}${titleOf(state)}`, Math.max(1, size.columns - time.length - 1));
  const space = " ".repeat(Math.max(0, size.columns - 1 - Bun.stringWidth(title) - time.length));
  const line = `${title}${space}${time}`;
  if (status === "running") return line;
  return paint(line, status === "failed" ? RED : BLUE, coloured);
}

const paint = (line: string, colour: string | undefined, coloured: boolean): string =>
  coloured ? `${colour}${line}${PLAIN}` : line;

function tailOf(state: StepState, count: number): string[] {
  const moving = [...state.layers.values()].slice(-count);
  if (moving.length > 0) return moving;
  const lines = state.partial === "" ? state.log : [...state.log, state.partial];
  return lines.slice(-count);
}

/** What a line was overwritten with counts, as on a terminal. */
const asOverwritten = (line: string): string =>
  line.includes("\r") ? (line.split("\r").findLast((part) => part !== "") ?? "") : line;

/** Cut to a width; nothing that a terminal would obey gets through. */
function fit(text: string, width: number): string {
  const safe = Bun.stripANSI(text)
    .replaceAll("\t", " ")
    // oxlint-disable-next-line no-control-regex -- that is what is taken out
    .replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "?");
  return Bun.stringWidth(safe) > width ? Bun.sliceAnsi(safe, 0, width) : safe;
}

export interface LiveViewOptions {
  readonly write: (text: string) => void;
  readonly size: () => WindowSize;
  readonly coloured: boolean;
  readonly explain: boolean;
}

export function liveView(progress: BuildProgress, options: LiveViewOptions): BuildView {
  const { write, size, coloured, explain } = options;
  let drawn = 0;
  let ended = false;
  /** What came of it: its id and names, told behind the steps. */
  let outcome = "";
  const draw = () => {
    const lines = drawBuild({ progress, nowMs: performance.now(), size: size(), coloured, ended });
    const up = drawn === 0 ? "" : `\x1b[${drawn}A`;
    write(`${up}\r${lines.map((line) => `\x1b[2K${line}\n`).join("")}\x1b[J`);
    drawn = lines.length;
  };
  write(HIDE_CURSOR);
  let timer = setInterval(draw, REDRAW_MS);
  return {
    take({ naru: event, stream }: BuildMessage) {
      if (event !== undefined || stream === undefined) return;
      // Docker's own lines come from an engine that does not tell more.
      if (progress.steps.size === 0) write(stream);
      else outcome += stream;
    },
    pause() {
      clearInterval(timer);
      draw();
      write(SHOW_CURSOR);
    },
    resume() {
      drawn = 0;
      write(HIDE_CURSOR);
      timer = setInterval(draw, REDRAW_MS);
    },
    end(failed) {
      if (ended) return;
      ended = true;
      clearInterval(timer);
      if (progress.steps.size > 0) draw();
      write(SHOW_CURSOR);
      write(outcome);
      if (explain) write(reasonsOf(progress));
      if (progress.warnings.length > 0) write(`\n${progress.warnings.join("\n")}\n`);
      if (failed) write(failureText(progress));
    },
  };
}

function reasonsOf(progress: BuildProgress): string {
  const lines = [...progress.steps.values()]
    .filter(({ status, why }) => status === "cached" || why !== "")
    .map((state) => {
      const reason = state.status === "cached" ? "cached" : `not cached: ${state.why}`;
      return `${titleOf(state)}\n   ${reason}`;
    });
  return lines.length === 0 ? "" : `\n${lines.join("\n")}\n`;
}
