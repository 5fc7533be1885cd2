/** What a build tells while it goes on. Steps are counted from 1, in an order in which each comes after what it needs. */
import type { Instruction, Location } from "#engine/build/dockerfile";
import type { Digest } from "#oci";

export type BuildEvent =
  /** A step's turn: `FROM busybox`, `RUN make`. */
  | {
      readonly type: "step";
      readonly step: number;
      readonly total: number;
      readonly stage: string;
      readonly text: string;
    }
  /** It was found in the cache, or why it was not. */
  | { readonly type: "cache"; readonly step: number; readonly hit: boolean; readonly why: string }
  /** A process of the step runs, under this id. */
  | { readonly type: "running"; readonly step: number; readonly id: string }
  | {
      readonly type: "output";
      readonly step: number;
      readonly text: string;
      readonly stderr: boolean;
    }
  /** A pull's own messages, as Docker's JSON lines. */
  | { readonly type: "progress"; readonly step: number; readonly message: object }
  /** The step is done; the id is that of an image that would end here. */
  | {
      readonly type: "done";
      readonly step: number;
      readonly id: Digest | null;
      readonly durationMs: number;
      readonly processId: string | null;
    }
  | {
      readonly type: "warning";
      readonly rule: string;
      readonly message: string;
      readonly line: number;
      readonly endLine: number;
      /** The lines of the file, as people read them. */
      readonly excerpt?: string;
    }
  | { readonly type: "notice"; readonly text: string }
  /** The build has failed here; nothing comes after it. */
  | {
      readonly type: "failed";
      /** null when no step had begun. */
      readonly step: number | null;
      readonly file: string;
      readonly startLine: number;
      readonly endLine: number;
      /** The lines of the file, as people read them. */
      readonly excerpt: string;
    }
  /** The Dockerfile as it was read; what `line` of other events counts in. */
  | { readonly type: "source"; readonly name: string; readonly text: string }
  /** Everything that will be done, before anything is. */
  | { readonly type: "plan"; readonly steps: readonly PlannedStep[] }
  /** What was wrong with a step, as it happens; "failed" comes at the build's end. */
  | { readonly type: "broken"; readonly step: number; readonly error: unknown };

/** A step as the plan has it. */
export interface PlannedStep {
  readonly step: number;
  /** Its stage's name as the file has it, or its place in the file. */
  readonly stage: string | number;
  readonly kind: Instruction["kind"] | "from";
  readonly text: string;
  readonly location: Location;
  /** FROM another stage of the file, or from nothing. */
  readonly isLink: boolean;
}

export type OnBuildEvent = (event: BuildEvent) => Promise<void> | void;

/** Text of steps that wait for their turn: beyond it their processes wait too. */
const WAITING_LIMIT = 4 * 1024 * 1024;

/**
 * Events of steps that run at once, told in the order of the steps: nothing is lost, and nothing grows without
 * end, since who is ahead and prints too much waits until it is its turn.
 */
export class OrderedEvents {
  readonly #tell: OnBuildEvent;
  readonly #inOrder: boolean;
  /** Events of stages whose turn has not come, by stage. */
  readonly #waiting = new Map<number, BuildEvent[]>();
  readonly #finished = new Set<number>();
  #current = 0;
  #size = 0;
  #ended = false;
  #woken = Promise.withResolvers<void>();
  #last: Promise<void> = Promise.resolve();

  /** @param options.inOrder false: everything is told at once, and still no faster than it is taken */
  constructor(tell: OnBuildEvent, options: { readonly inOrder: boolean } = { inOrder: true }) {
    this.#tell = tell;
    this.#inOrder = options.inOrder;
  }

  /** Resolves when there is room for more. */
  async tell(stage: number, event: BuildEvent): Promise<void> {
    if (!this.#inOrder || stage === this.#current) return await this.#now(event);
    const waiting = this.#waiting.get(stage) ?? [];
    this.#waiting.set(stage, waiting);
    waiting.push(event);
    if (event.type === "output") this.#size += event.text.length;
    while (!this.#ended && this.#size > WAITING_LIMIT && stage !== this.#current) {
      await this.#woken.promise;
    }
  }

  /** The stage says nothing more. */
  async finish(stage: number): Promise<void> {
    this.#finished.add(stage);
    while (this.#finished.has(this.#current)) {
      this.#current += 1;
      // All at once: what the stage tells from now on comes after them.
      for (const event of this.#waiting.get(this.#current) ?? []) {
        if (event.type === "output") this.#size -= event.text.length;
        void this.#now(event);
      }
      this.#waiting.delete(this.#current);
      this.#wake();
    }
    await this.#last;
  }

  /** The build has failed: nobody waits for a turn any more. */
  end(): void {
    this.#size = 0;
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#woken.resolve();
    this.#woken = Promise.withResolvers();
  }

  #now(event: BuildEvent): Promise<void> {
    this.#last = this.#last.then(() => this.#tell(event));
    return this.#last;
  }
}
