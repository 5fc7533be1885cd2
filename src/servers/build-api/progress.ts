/** A build's events as the vertexes, logs and warnings that buildx shows. */
import type { BuildEvent, PlannedStep } from "#engine/build";
import { type Digest, digestOf } from "#oci";
import { timestampFromDate } from "#wire/grpc";

import { describedFailure } from "./failures.ts";
import type { FolderProgress } from "./folders.ts";
import type { StepCounts } from "./history.ts";
import { urlOfRule } from "./rules.ts";
import type { StatusLog, StatusUpdate } from "./status-log.ts";

interface Vertex {
  readonly digest: Digest;
  readonly name: string;
  readonly started: Date;
}

/** What a work beside the steps may tell of itself. */
export interface ShownWork {
  output(text: string, stderr: boolean): Promise<void>;
  /** It was done before. */
  cached(): void;
}

/** Told no more often than this while something is transferred. */
const TRANSFER_TELL_MS = 150;
/** Steps that change files: the others are none of buildx's lines. */
const SHOWN: ReadonlySet<PlannedStep["kind"]> = new Set(["from", "run", "copy", "add", "workdir"]);
const isShown = ({ kind, isLink }: PlannedStep): boolean => SHOWN.has(kind) && !isLink;

export interface SourceText {
  readonly filename: string;
  readonly text: string;
}

export class Progress {
  readonly #log: StatusLog;
  /** Makes digests of one build its own. */
  readonly #ref: string;
  /** In front of its steps; "" for the only platform of a build. */
  readonly #platform: string;
  readonly #steps = new Map<number, { name: string; step: PlannedStep }>();
  readonly #open = new Map<number, Vertex & { cached: boolean }>();
  #fault: { startLine: number; endLine: number } | null = null;
  #source: SourceText = { filename: "Dockerfile", text: "" };
  #count = 0;
  readonly #counts: { total: number; completed: number; cached: number; warnings: number };

  constructor(log: StatusLog, ref: string, of?: { platform: string; whole: Progress }) {
    this.#log = log;
    this.#ref = of === undefined ? ref : `${ref} ${of.platform}`;
    this.#platform = of === undefined ? "" : `${of.platform} `;
    this.#counts =
      of === undefined ? { total: 0, completed: 0, cached: 0, warnings: 0 } : of.whole.#counts;
  }

  /** Of one platform of several that are built at once. */
  of(platform: string): Progress {
    return new Progress(this.#log, this.#ref, { platform, whole: this });
  }

  /** What went wrong is told about this Dockerfile. */
  blame({ source, fault }: Progress): void {
    this.#source = source;
    this.#fault = fault;
  }

  get counts(): StepCounts {
    return this.#counts;
  }

  /** The Dockerfile, and which of its lines went wrong. */
  get source(): SourceText {
    return this.#source;
  }

  get fault(): { readonly startLine: number; readonly endLine: number } | null {
    return this.#fault;
  }

  async tell(event: BuildEvent): Promise<void> {
    switch (event.type) {
      case "source":
        this.#source = { filename: event.name, text: event.text };
        return;
      case "plan":
        return this.#plan(event.steps);
      case "step":
        return await this.#begin(event.step);
      case "cache": {
        const vertex = this.#open.get(event.step);
        if (vertex !== undefined) vertex.cached = event.hit;
        return;
      }
      case "output":
        return await this.#output(event);
      case "progress":
        return await this.#pull(event);
      case "done":
        return await this.#end(event.step, "");
      case "broken":
        return await this.#end(event.step, describedFailure(event.error));
      case "failed": {
        const { startLine, endLine } = event;
        this.#fault = { startLine, endLine };
        return;
      }
      case "warning":
        return await this.#warn(event);
      case "notice":
        return await this.#notice(event.text);
      case "running":
    }
  }

  /** What a folder of the client sends, as a line of its own. */
  readonly folders: FolderProgress = ({ folder, filter }) => {
    const { followPaths } = filter;
    const isIgnoreFile = followPaths.length === 1 && followPaths[0] === ".dockerignore";
    const isDockerfile = folder === "dockerfile";
    const name = isIgnoreFile
      ? "[internal] load .dockerignore"
      : isDockerfile
        ? `[internal] load build definition from ${followPaths[0] ?? folder}`
        : folder === "context"
          ? "[internal] load build context"
          : `[context ${folder}] load from client`;
    const what = isDockerfile && !isIgnoreFile ? "dockerfile" : "context";
    return this.#transfer(name, `transferring ${what}:`);
  };

  /** One thing that is done beside the steps. */
  async during<T>(
    name: string,
    work: (status: (id: string) => Promise<void>, shown: ShownWork) => Promise<T>,
  ): Promise<T> {
    const vertex = this.#vertex(name);
    await this.#tellVertex(vertex, null);
    let cached = false;
    const shown: ShownWork = {
      output: (text, stderr) => this.#say(vertex, { text, stderr }),
      cached: () => {
        cached = true;
      },
    };
    try {
      const result = await work((id) => this.#done(vertex, id), shown);
      await this.#tellVertex(vertex, { error: "", cached });
      return result;
    } catch (cause) {
      await this.#tellVertex(vertex, { error: describedFailure(cause), cached: false });
      throw cause;
    }
  }

  #transfer(name: string, id: string): ReturnType<FolderProgress> {
    const vertex = this.#vertex(name);
    const started = timestampFromDate(vertex.started);
    let [current, toldMs, isDone] = [0, 0, false];
    const tell = (completed: Date | null) => {
      const now = timestampFromDate(new Date());
      const status = {
        id,
        vertex: vertex.digest,
        current: BigInt(current),
        timestamp: now,
        started,
      };
      const end = completed === null ? {} : { completed: timestampFromDate(completed) };
      return this.#log.tell({ statuses: [{ ...status, ...end }] });
    };
    void this.#tellVertex(vertex, null);
    return {
      bytes: (count) => {
        current += count;
        const now = performance.now();
        if (now - toldMs < TRANSFER_TELL_MS) return;
        toldMs = now;
        void tell(null);
      },
      done: (error) => {
        if (isDone) return;
        isDone = true;
        void tell(new Date());
        const text = error === null ? "" : describedFailure(error);
        void this.#tellVertex(vertex, { error: text, cached: false });
      },
    };
  }

  #plan(steps: readonly PlannedStep[]): void {
    const shown = steps.filter(isShown);
    this.#counts.total += shown.length;
    const stages = new Set(steps.map(({ stage }) => stage));
    for (const stage of stages) {
      const own = shown.filter((step) => step.stage === stage);
      const label =
        typeof stage === "string" ? `${stage} ` : stages.size === 1 ? "" : `stage-${stage} `;
      const width = String(own.length).length;
      for (const [at, step] of own.entries()) {
        const place = `${String(at + 1).padStart(width)}/${own.length}`;
        this.#steps.set(step.step, {
          name: `[${this.#platform}${label}${place}] ${step.text}`,
          step,
        });
      }
    }
    for (const step of steps) {
      if (!this.#steps.has(step.step)) this.#steps.set(step.step, { name: "", step });
    }
  }

  async #begin(step: number): Promise<void> {
    const name = this.#steps.get(step)?.name ?? "";
    if (name === "") return;
    const vertex = { ...this.#vertex(name), cached: false };
    this.#open.set(step, vertex);
    await this.#tellVertex(vertex, null);
  }

  async #end(step: number, error: string): Promise<void> {
    const vertex = this.#open.get(step);
    if (vertex === undefined) return;
    this.#open.delete(step);
    if (error === "") this.#counts.completed += 1;
    if (vertex.cached) this.#counts.cached += 1;
    await this.#tellVertex(vertex, { error, cached: vertex.cached });
  }

  /** Steps of other stages that were broken off when one failed, or the client went away. */
  async end(): Promise<void> {
    for (const step of this.#open.keys()) await this.#end(step, "context canceled");
  }

  async #output(said: Extract<BuildEvent, { type: "output" }>): Promise<void> {
    const vertex = this.#open.get(said.step);
    if (vertex !== undefined) await this.#say(vertex, said);
  }

  async #say(
    vertex: Vertex,
    { text, stderr }: { readonly text: string; readonly stderr: boolean },
  ): Promise<void> {
    const msg = new TextEncoder().encode(text);
    const log = { vertex: vertex.digest, timestamp: timestampFromDate(new Date()), msg };
    await this.#log.tell({ logs: [{ ...log, stream: stderr ? 2n : 1n }] });
  }

  async #pull({ step, message }: Extract<BuildEvent, { type: "progress" }>): Promise<void> {
    const vertex = this.#open.get(step);
    const { id, status, progressDetail } = message as {
      id?: string;
      status?: string;
      progressDetail?: { current?: number; total?: number };
    };
    if (vertex === undefined || id === undefined || progressDetail?.current === undefined) return;
    const { current, total = 0 } = progressDetail;
    const now = timestampFromDate(new Date());
    const counted = { current: BigInt(current), total: BigInt(total) };
    const times = { timestamp: now, started: timestampFromDate(vertex.started) };
    const name = `${status ?? ""} ${id}`;
    const ended = total > 0 && current >= total ? { completed: now } : {};
    await this.#log.tell({
      statuses: [{ id: name, vertex: vertex.digest, ...counted, ...times, ...ended }],
    });
  }

  async #done({ digest, started }: Vertex, id: string): Promise<void> {
    const now = timestampFromDate(new Date());
    const times = { timestamp: now, started: timestampFromDate(started), completed: now };
    await this.#log.tell({ statuses: [{ id, vertex: digest, ...times }] });
  }

  async #warn({ rule, message, line }: Extract<BuildEvent, { type: "warning" }>): Promise<void> {
    const vertex = this.#vertex(`[internal] load build definition from ${this.#source.filename}`);
    this.#counts.warnings += 1;
    const encode = (text: string) => new TextEncoder().encode(text);
    const { filename, text } = this.#source;
    const info = { filename, data: encode(text), language: "Dockerfile" };
    const place = { line, character: 0 };
    const short = encode(`${rule}: ${message} (line ${line})`);
    const more = { level: 1n, short, detail: [], url: urlOfRule(rule) };
    const ranges = [{ start: place, end: place }];
    await this.#log.tell({ warnings: [{ vertex: vertex.digest, ...more, info, ranges }] });
  }

  async #notice(text: string): Promise<void> {
    const vertex = this.#vertex("[internal] notices");
    const short = new TextEncoder().encode(text.trim());
    await this.#log.tell({ warnings: [{ vertex: vertex.digest, level: 1n, short, detail: [] }] });
  }

  #vertex(name: string): Vertex {
    this.#count += 1;
    const text = `${this.#ref} ${this.#count} ${name}`;
    return { digest: digestOf(new TextEncoder().encode(text)), name, started: new Date() };
  }

  async #tellVertex(
    { digest, name, started }: Vertex,
    end: { readonly error: string; readonly cached: boolean } | null,
  ): Promise<void> {
    const vertex = { digest, name, started: timestampFromDate(started) };
    const ended = end === null ? {} : { ...end, completed: timestampFromDate(new Date()) };
    const update: StatusUpdate = { vertexes: [{ ...vertex, ...ended }] };
    await this.#log.tell(update);
  }
}
