/** `naru top` without a container: all of them, live, over the whole terminal. */
import { invalid } from "#base";
import type { ApiClient } from "#clients/api-client";

import { type Entry, UsageFeed } from "../live/feed.ts";
import { type Key, parseKeys } from "../live/keys.ts";
import {
  drawFrame,
  filtered,
  type LiveRow,
  pageOf,
  type Sort,
  SORTS,
  type View,
} from "../live/screen.ts";
import { print, STDIN, STDOUT } from "../terminal/stdio.ts";
import type { Usage } from "../live/usage.ts";
import { isTerminal, makeRaw, windowSize } from "../terminal/tty.ts";

const REDRAW_MS = 500;
/** No name is longer. */
const FILTER_LIMIT = 255;
/** Of a terminal that does not know its own. */
const USUAL_SIZE = { rows: 24, columns: 80 };
const SORT_KEYS: Readonly<Record<string, Sort>> = {
  c: "cpu",
  d: "disk",
  m: "memory",
  n: "network",
  p: "pids",
};

export interface LiveTopRequest {
  readonly all: boolean;
  readonly sort: Sort;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** @returns the exit code, once the person at the terminal has had enough */
export async function runLiveTop(client: ApiClient, request: LiveTopRequest): Promise<number> {
  const { environment } = request;
  if (!isTerminal(STDIN) || !isTerminal(STDOUT) || environment["TERM"] === "dumb") {
    throw invalid(
      "the live view needs a terminal: 'naru stats --no-stream' prints the same once, 'naru top CONTAINER' one container's processes",
    );
  }
  let feed = new UsageFeed(client, { all: request.all });
  // Whoever cannot reach the daemon is told so on the screen they know.
  await feed.refresh();
  const window = new Window(environment, request.sort);
  try {
    using screen = openScreen();
    for (let all = request.all; ; all = !all) {
      const ended = await window.show(feed, screen);
      feed[Symbol.dispose]();
      if (ended !== "all") return 0;
      feed = new UsageFeed(client, { all: !all });
    }
  } finally {
    feed[Symbol.dispose]();
    window[Symbol.dispose]();
  }
}

interface Screen extends Disposable {
  draw(lines: readonly string[]): void;
  clear(): void;
}

/** The terminal's second screen, without a cursor; the first one comes back as it was. */
function openScreen(): Screen {
  const raw = makeRaw(STDIN);
  print("\x1b[?1049h\x1b[?25l\x1b[2J");
  return {
    draw: (lines) => print(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}`),
    clear: () => print("\x1b[2J"),
    [Symbol.dispose]: () => {
      print("\x1b[?25h\x1b[?1049l");
      raw.restore();
    },
  };
}

type Ending = "quit" | "all";

/** What is shown and how, and the keys that change it. */
class Window implements Disposable {
  readonly #coloured: boolean;
  readonly #unicode: boolean;
  #view: View;
  #rows: LiveRow[] = [];
  #wake: (() => void) | null = null;
  #ending: Ending | null = null;
  #resized = false;
  readonly #keys: Promise<void>;
  readonly #onResize = () => {
    this.#resized = true;
    this.#wake?.();
  };
  readonly #onEnd = () => this.#end("quit");

  constructor(environment: LiveTopRequest["environment"], sort: Sort) {
    this.#coloured = (environment["NO_COLOR"] ?? "") === "";
    const locale = environment["LC_ALL"] || environment["LC_CTYPE"] || environment["LANG"] || "";
    this.#unicode = /utf-?8/i.test(locale);
    this.#view = {
      sort,
      reversed: false,
      offset: 0,
      paused: false,
      filter: "",
      typing: false,
      help: false,
    };
    process.on("SIGWINCH", this.#onResize);
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, this.#onEnd);
    this.#keys = this.#readKeys();
  }

  /** Until a key ends it. @throws when the daemon answers no more */
  async show(feed: UsageFeed, screen: Screen): Promise<Ending> {
    this.#ending = null;
    let failure: unknown = null;
    feed.followAll().catch((cause: unknown) => {
      failure = cause;
      this.#wake?.();
    });
    for (;;) {
      feed.throwIfFailed();
      if (failure !== null) throw failure;
      if (!this.#view.paused) this.#rows = [...feed.entries.values()].map(rowOf);
      if (this.#resized) screen.clear();
      this.#resized = false;
      const size = windowSize(STDOUT) ?? USUAL_SIZE;
      this.#scroll(0, size.rows);
      screen.draw(
        drawFrame({
          rows: this.#rows,
          view: this.#view,
          size,
          coloured: this.#coloured,
          unicode: this.#unicode,
        }),
      );
      await this.#news();
      if (this.#ending !== null) return this.#ending;
    }
  }

  [Symbol.dispose](): void {
    process.off("SIGWINCH", this.#onResize);
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.off(signal, this.#onEnd);
    this.#keys.catch(() => undefined);
  }

  /** Resolves at a key, a new size, or when it is time to look again. */
  async #news(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, REDRAW_MS);
    this.#wake = resolve;
    if (this.#ending === null && !this.#resized) await promise;
    clearTimeout(timer);
    this.#wake = null;
  }

  async #readKeys(): Promise<void> {
    for await (const chunk of Bun.stdin.stream()) {
      for (const key of parseKeys(new TextDecoder().decode(chunk))) this.#press(key);
      this.#wake?.();
    }
    this.#end("quit");
  }

  #end(ending: Ending): void {
    this.#ending = ending;
    this.#wake?.();
  }

  #press(key: Key): void {
    if (this.#view.typing) return this.#type(key);
    const { rows } = windowSize(STDOUT) ?? USUAL_SIZE;
    const page = pageOf(rows);
    switch (key) {
      case "escape":
        // Back out of what was put over the list before the list itself.
        if (!this.#view.help && this.#view.filter === "") return this.#end("quit");
        return this.#change({ help: false, filter: "", offset: 0 });
      case "interrupt":
      case "char:q":
        return this.#end("quit");
      case "char:h":
      case "char:?":
        return this.#change({ help: !this.#view.help });
      case "enter":
      case "backspace":
        return;
      case "char:/":
        return this.#change({ typing: true, help: false });
      case "char:a":
        return this.#end("all");
      case "left":
      case "char:<":
        return this.#sortBy(-1);
      case "right":
      case "char:>":
        return this.#sortBy(1);
      case "up":
      case "char:k":
        return this.#scroll(-1, rows);
      case "down":
      case "char:j":
        return this.#scroll(1, rows);
      case "pageUp":
        return this.#scroll(-page, rows);
      case "pageDown":
        return this.#scroll(page, rows);
      case "home":
      case "char:g":
        return this.#scroll(-Infinity, rows);
      case "end":
      case "char:G":
        return this.#scroll(Infinity, rows);
      case "char:r":
        return this.#change({ reversed: !this.#view.reversed });
      case "char: ":
        return this.#change({ paused: !this.#view.paused });
      default: {
        const sort = SORT_KEYS[key.slice("char:".length)];
        if (sort !== undefined) this.#change({ sort, offset: 0 });
      }
    }
  }

  #change(change: Partial<View>): void {
    this.#view = { ...this.#view, ...change };
  }

  /** A key while the filter is being typed. */
  #type(key: Key): void {
    const { filter } = this.#view;
    if (key === "interrupt") return this.#end("quit");
    if (key === "enter") return this.#change({ typing: false });
    if (key === "escape") return this.#change({ typing: false, filter: "", offset: 0 });
    const next =
      key === "backspace"
        ? Array.from(filter).slice(0, -1).join("")
        : filter + (key.startsWith("char:") ? key.slice("char:".length) : "");
    if (next.length <= FILTER_LIMIT) this.#change({ filter: next, offset: 0 });
  }

  #sortBy(step: number): void {
    const at = SORTS.indexOf(this.#view.sort) + step + SORTS.length;
    const sort = SORTS[at % SORTS.length] ?? "cpu";
    this.#change({ sort, offset: 0 });
  }

  #scroll(step: number, rows: number): void {
    const last = Math.max(0, filtered(this.#rows, this.#view).length - pageOf(rows));
    const offset = Math.min(last, Math.max(0, this.#view.offset + step));
    this.#change({ offset });
  }
}

/** Links give a container names below others'. */
const ownName = (summary: Entry["summary"]): string | undefined =>
  summary?.Names.find((name) => name.lastIndexOf("/") === 0);

function rowOf({ container, summary, usage, previous }: Entry): LiveRow {
  const state = summary?.State ?? "running";
  const rate = (of: (sample: Usage) => number): number => {
    if (usage === undefined || previous === undefined || previous.distanceMs <= 0) return 0;
    // Counters begin anew with a run.
    return Math.max(0, ((of(usage) - of(previous.usage)) * 1000) / previous.distanceMs);
  };
  return {
    name: (ownName(summary) ?? usage?.name ?? container).replace(/^\//, ""),
    image: summary?.Image ?? "",
    status: summary?.Status ?? "",
    runs: state === "running" || state === "paused",
    cpuPercent: previous === undefined ? 0 : (usage?.cpuPercent ?? 0),
    memoryBytes: usage?.memoryBytes ?? 0,
    memoryPercent: usage?.memoryPercent ?? 0,
    rxRate: rate(({ rxBytes }) => rxBytes),
    txRate: rate(({ txBytes }) => txBytes),
    readRate: rate(({ readBytes }) => readBytes),
    writeRate: rate(({ writeBytes }) => writeBytes),
    pids: usage?.pids ?? 0,
  };
}
