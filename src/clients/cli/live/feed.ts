/**
 * The usage of many containers, kept up to date: one stream each, begun when a container starts and ended when it
 * ends. Who shows it looks at `entries` whenever it likes.
 */
import {
  type ApiClient,
  listContainers,
  readStats,
  streamStats,
  systemEventLines,
} from "#clients/api-client";
import type { ContainerSummary } from "#wire/docker";

import { type Usage, usageOf } from "./usage.ts";

export interface Entry {
  /** As it was asked for: a name, or a short id. */
  readonly container: string;
  /** What the list says of it; undefined for one that was named. */
  summary: ContainerSummary | undefined;
  usage: Usage | undefined;
  /** The sample before, and how far apart the two were taken: for what is used a second. */
  previous: { readonly usage: Usage; readonly distanceMs: number } | undefined;
  readonly stop: AbortController;
}

const SHORT_ID = 12;
/** How often the list is asked for again, so that its words ("Up 2 minutes") stay true. */
const REFRESH_MS = 5000;
const EVENTS = "create start die destroy rename pause unpause health_status".split(" ");
/** How long docker waits for a container's first sample. */
const FIRST_SAMPLE_MS = 2500;

export class UsageFeed implements Disposable {
  readonly entries = new Map<string, Entry>();
  readonly #client: ApiClient;
  readonly #all: boolean;
  readonly #closing = new AbortController();
  #failure: Error | null = null;

  /** @param options.all also containers that do not run */
  constructor(client: ApiClient, options: { all: boolean }) {
    this.#client = client;
    this.#all = options.all;
  }

  /** @throws what the daemon, or the way to it, has failed with meanwhile */
  throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Follows everything: resolves when every container that is there now has told of itself once. */
  async followAll(): Promise<void> {
    const lines = systemEventLines(this.#client, {
      filters: { type: ["container"], event: EVENTS },
      signal: this.#closing.signal,
    });
    const first = lines.next();
    this.#run(this.#listen(lines, first));
    await this.refresh();
    const timer = setInterval(() => this.#run(this.refresh()), REFRESH_MS);
    this.#closing.signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    await this.#firstSamples();
  }

  /** Follows those that are named. @throws the first that cannot be followed */
  async follow(names: readonly string[]): Promise<void> {
    const missing: Promise<never>[] = [];
    for (const name of new Set(names)) {
      const { promise, reject } = Promise.withResolvers<never>();
      promise.catch(() => undefined);
      missing.push(promise);
      this.#add(name, undefined, reject);
    }
    await Promise.race([this.#firstSamples(), ...missing]);
  }

  /** Looks at the list: begins with who is new, ends with who is gone. */
  async refresh(): Promise<void> {
    const found = await listContainers(this.#client, { all: this.#all });
    const present = new Set(found.map(({ Id }) => Id.slice(0, SHORT_ID)));
    for (const summary of found) {
      const key = summary.Id.slice(0, SHORT_ID);
      const known = this.entries.get(key);
      if (known === undefined) this.#add(key, summary);
      else known.summary = summary;
    }
    for (const [key, { stop }] of this.entries) {
      if (present.has(key)) continue;
      stop.abort();
      this.entries.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#closing.abort();
    for (const { stop } of this.entries.values()) stop.abort();
  }

  #add(
    container: string,
    summary: ContainerSummary | undefined,
    failed: (cause: unknown) => void = () => undefined,
  ): void {
    const stop = new AbortController();
    const entry: Entry = { container, summary, usage: undefined, previous: undefined, stop };
    this.entries.set(container, entry);
    // One that is gone before it could be asked is no failure of the others.
    this.#watch(entry).catch(failed);
  }

  async #watch(entry: Entry): Promise<void> {
    let readAtMs = 0;
    for await (const stats of streamStats(this.#client, entry.container, entry.stop.signal)) {
      const now = Date.parse(stats.read);
      if (entry.usage !== undefined && now > readAtMs) {
        entry.previous = { usage: entry.usage, distanceMs: now - readAtMs };
      }
      readAtMs = now;
      entry.usage = usageOf(stats);
    }
  }

  async #listen(
    lines: AsyncGenerator<string>,
    first: Promise<IteratorResult<string>>,
  ): Promise<void> {
    for (let line = await first; line.done !== true; line = await lines.next()) {
      await this.refresh();
    }
    if (!this.#closing.signal.aborted) throw new Error("the daemon has ended the stream of events");
  }

  /** Until each has one, or it takes too long: docker does not wait for ever either. */
  async #firstSamples(): Promise<void> {
    const deadline = performance.now() + FIRST_SAMPLE_MS;
    const waits = () => [...this.entries.values()].some(({ usage }) => usage === undefined);
    while (waits() && performance.now() < deadline) await Bun.sleep(20);
  }

  #run(work: Promise<unknown>): void {
    work.catch((cause: unknown) => {
      if (this.#closing.signal.aborted) return;
      this.#failure ??= cause instanceof Error ? cause : new Error(String(cause));
    });
  }
}

/** One sample of each that is asked for, all at once; without names, of all that run. */
export async function sampleOnce(
  client: ApiClient,
  names: readonly string[],
  { all }: { all: boolean },
): Promise<{ container: string; usage: Usage }[]> {
  const asked =
    names.length > 0
      ? [...new Set(names)]
      : (await listContainers(client, { all })).map(({ Id }) => Id.slice(0, SHORT_ID));
  return await Promise.all(
    asked.map(async (container) => ({
      container,
      usage: usageOf(await readStats(client, container)),
    })),
  );
}
