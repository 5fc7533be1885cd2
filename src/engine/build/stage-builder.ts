/** One stage, instruction by instruction: config steps here, RUN in run.ts, COPY and ADD in files.ts. */
import { IMAGE_CONFIG_LIMIT_BYTES, invalid } from "#base";
import {
  expandWord,
  expandWords,
  type Instruction,
  type Location,
  parseTrigger,
} from "#engine/build/dockerfile";
import type { ProgressMessage } from "#engine/image";
import { type Digest, digestOf } from "#oci";

import type { Base } from "./base-image.ts";
import type { StepReads } from "./cache.ts";
import type { BuildEvent } from "./events.ts";
import { copyFiles } from "./files.ts";
import type { PlannedStage } from "./plan.ts";
import { runCommand } from "./run.ts";
import type { BuildScope } from "./solver.ts";
import {
  committed,
  type ConfigInstruction,
  configure,
  environmentOf,
  imageConfigOf,
  type StageState,
  timeText,
} from "./stage-state.ts";
import { isKnown, keyOf, type StepDone, takeStep } from "./steps.ts";
import { makeWorkingDirectory } from "./workdir.ts";

/** What a step does to the stage. */
export interface LayerStep {
  readonly description: string;
  readonly reads: StepReads;
  readonly createdBy: string;
  readonly change?: Partial<StageState>;
  /** No line of the history. */
  readonly isUntold?: boolean;
  readonly make: (signal: AbortSignal) => Promise<Digest | null>;
}

export class StageBuilder {
  readonly scope: BuildScope;
  readonly planned: PlannedStage;
  readonly #order: number;
  #step: number;
  #startedMs = 0;
  #processId: string | null = null;
  #slot = 0;

  constructor(
    scope: BuildScope,
    planned: PlannedStage,
    { order, first }: { order: number; first: number },
  ) {
    this.scope = scope;
    this.planned = planned;
    this.#order = order;
    this.#step = first;
  }

  async tell(event: BuildEvent): Promise<void> {
    await this.scope.tell(this.#order, event);
  }

  /** Says of an error that it came up at these lines, in the step that goes on. */
  blame(cause: unknown, location: Location): void {
    if (!this.scope.signal.aborted) this.scope.faults.blame(cause, { location, step: this.#step });
  }

  async tellFrom(): Promise<void> {
    await this.#begin(this.planned.stage.original);
  }

  async progress(message: ProgressMessage): Promise<void> {
    await this.tell({ type: "progress", step: this.#step, message });
  }

  async running(id: string): Promise<void> {
    this.#processId = id;
    await this.tell({ type: "running", step: this.#step, id });
  }

  async output(text: string, stderr: boolean): Promise<void> {
    await this.tell({ type: "output", step: this.#step, text, stderr });
  }

  /** Says what was wrong with the step it was at, unless that was another stage's failure. */
  async broken(error: unknown): Promise<void> {
    if (!this.scope.signal.aborted) await this.tell({ type: "broken", step: this.#step, error });
  }

  async build({ state: base, triggers, image }: Base): Promise<StageState> {
    await this.#done(base, image === null ? null : image.id);
    let state = base;
    if (triggers.length > 0) {
      const many = triggers.length === 1 ? "" : "s";
      await this.output(`# Executing ${triggers.length} build trigger${many}\n`, false);
      for (const trigger of triggers) {
        const { startLine } = this.planned.stage.location;
        const instruction = {
          ...parseTrigger(trigger),
          location: { startLine, endLine: startLine },
        };
        state = await this.#run(state, instruction);
      }
    }
    for (const instruction of this.planned.stage.instructions) {
      this.#step += 1;
      await this.#begin(instruction.original);
      state = await this.#run(state, instruction);
      await this.#done(state, null);
    }
    return state;
  }

  async #begin(text: string): Promise<void> {
    this.#startedMs = performance.now();
    this.#processId = null;
    const { name } = this.planned.stage;
    const stage = name === "" ? String(this.planned.index) : name;
    const { total } = this.scope.plan;
    await this.tell({ type: "step", step: this.#step, total, stage, text });
  }

  async #done(state: StageState, image: Digest | null): Promise<void> {
    const config = new TextEncoder().encode(JSON.stringify(imageConfigOf(state, {})));
    // Else nobody could pull it, and a few instructions would fill the memory.
    if (config.length > IMAGE_CONFIG_LIMIT_BYTES) {
      throw invalid(`the image's config has more than ${IMAGE_CONFIG_LIMIT_BYTES} bytes`);
    }
    const isScratch = state.key === "scratch";
    await this.tell({
      type: "done",
      step: this.#step,
      id: image ?? (isScratch ? null : digestOf(config)),
      durationMs: performance.now() - this.#startedMs,
      processId: this.#processId,
    });
  }

  async #run(state: StageState, instruction: Instruction): Promise<StageState> {
    this.scope.signal.throwIfAborted();
    try {
      return await this.#dispatch(state, instruction);
    } catch (cause) {
      this.blame(cause, instruction.location);
      throw cause;
    }
  }

  async #dispatch(state: StageState, instruction: Instruction): Promise<StageState> {
    switch (instruction.kind) {
      case "run":
        return await this.#layer(state, await runCommand(this, state, instruction));
      case "copy":
      case "add":
        return await this.#layer(state, await copyFiles(this, state, instruction));
      case "workdir":
        return await this.#layer(state, makeWorkingDirectory(this, state, instruction.path));
      case "arg":
        return await this.#declare(state, instruction);
      case "env":
      case "label":
      case "cmd":
      case "entrypoint":
      case "shell":
      case "user":
      case "expose":
      case "volume":
      case "stopsignal":
      case "healthcheck":
      case "onbuild":
      case "maintainer":
        return await this.#configure(state, instruction);
    }
  }

  /** A word with its variables' values. */
  expand(state: StageState, text: string): string {
    return expandWord(text, environmentOf(state), this.scope.file.escape).text;
  }

  /** The same for the words of one instruction, which together are no more than one may be. */
  expander(state: StageState): { one: (text: string) => string; many: (text: string) => string[] } {
    const { escape } = this.scope.file;
    const environment = environmentOf(state);
    let left = INSTRUCTION_LIMIT;
    const counted = (words: readonly string[]): void => {
      for (const { length } of words) left -= length;
      if (left < 0) throw invalid(`more than ${INSTRUCTION_LIMIT} characters come of it`);
    };
    return {
      one: (text) => {
        const word = expandWord(text, environment, escape).text;
        counted([word]);
        return word;
      },
      many: (text) => {
        const words = expandWords(text, environment, escape);
        counted(words);
        return words;
      },
    };
  }

  async #configure(state: StageState, instruction: ConfigInstruction): Promise<StageState> {
    const { createdBy, ...change } = configure(state, instruction, this.expander(state));
    // Docker's history says nothing of what is left for others to do.
    return await this.#note(state, createdBy, change, instruction.kind === "onbuild");
  }

  /** A step without a layer: remembered, so that a build that changes nothing gives the same image. */
  async #note(
    state: StageState,
    createdBy: string,
    change: Partial<StageState>,
    isUntold = false,
  ): Promise<StageState> {
    const facts = { parent: state.key, instruction: createdBy };
    return await this.#layer(state, {
      description: createdBy,
      createdBy,
      isUntold,
      change,
      reads: { facts, files: [] },
      make: () => Promise.resolve(null),
    });
  }

  async #declare(
    state: StageState,
    instruction: Extract<Instruction, { kind: "arg" }>,
  ): Promise<StageState> {
    const args = new Map(state.args);
    const hidden = new Set(state.hidden);
    const texts: string[] = [];
    for (const { name, value } of instruction.arguments) {
      const declared = this.#argument({ ...state, args, hidden }, name, value);
      this.scope.consumed.add(name);
      // Declared again without a value it keeps the one that it has.
      args.set(name, declared ?? args.get(name) ?? null);
      if (declared !== null) hidden.delete(name);
      texts.push(declared === null ? name : `${name}=${declared}`);
    }
    refuseTooMuch(args);
    return await this.#note(state, `ARG ${texts.join(" ")}`, { args, hidden });
  }

  #argument(state: StageState, name: string, value: string | null): string | null {
    const { request, globals } = this.scope;
    const { buildArgs } = request;
    const given = Object.hasOwn(buildArgs, name) ? buildArgs[name] : null;
    if (typeof given === "string") return given;
    if (value !== null) return this.expand(state, value);
    return Object.hasOwn(globals, name) ? (globals[name] ?? null) : null;
  }

  async #layer(state: StageState, step: LayerStep): Promise<StageState> {
    const done = await this.#take(state, step);
    const { epochSec } = this.scope;
    const createdMs = epochSec === null ? done.createdMs : epochSec * 1000;
    const next = { ...state, ...step.change };
    return committed(next, {
      createdBy: step.isUntold === true ? null : step.createdBy,
      created: timeText(createdMs),
      layer: done.layer,
      key: keyOf({ facts: { parent: state.key, step: done.key }, files: [] }),
    });
  }

  /** Whether a step that reads this would be found. */
  isCached(reads: StepReads): boolean {
    const { scope } = this;
    const key = keyOf(reads);
    return !this.#noCache && (isKnown(scope.context, key) || scope.imports.find(key) !== null);
  }

  get #noCache(): boolean {
    const { noCache, noCacheStages } = this.scope.request;
    return noCache || noCacheStages.includes(this.planned.stage.name);
  }

  async #take(state: StageState, step: LayerStep): Promise<StepDone> {
    const { scope, planned } = this;
    const { request } = scope;
    this.#slot += 1;
    const { name } = planned.stage;
    const place = [request.tags[0] ?? "", scope.arrived.name, name || planned.index, this.#slot];
    const done = await takeStep(scope.context, {
      slot: keyOf({ facts: { place: place.join("\n") }, files: [] }),
      description: step.description,
      parent: state.layers.at(-1) ?? "",
      reads: step.reads,
      noCache: this.#noCache,
      alone: scope.request.onFailedRun !== undefined,
      imported: (key) => scope.imports.find(key),
      make: async (signal) => {
        await scope.ensure(state.layers, (message) => void this.progress(message));
        return await step.make(signal);
      },
      signal: scope.signal,
      lease: scope.lease,
      onCache: (hit, why) => this.tell({ type: "cache", step: this.#step, hit, why }),
    });
    if (done.hit) scope.hits.push(done.key);
    scope.taken.add(done.key, { layer: done.layer, createdMs: done.createdMs });
    return done;
  }

  /** Time for what is made in a layer, in seconds since 1970. */
  get nowSec(): number {
    const { epochSec, context } = this.scope;
    return epochSec ?? Math.floor(context.clock.now().getTime() / 1000);
  }
}

/** Characters of an instruction's words, and of all arguments that a stage has. */
const INSTRUCTION_LIMIT = 4 * 1024 * 1024;

function refuseTooMuch(args: ReadonlyMap<string, string | null>): void {
  let length = 0;
  for (const value of args.values()) length += value?.length ?? 0;
  if (length > INSTRUCTION_LIMIT) {
    throw invalid(`the stage's arguments have more than ${INSTRUCTION_LIMIT} characters`);
  }
}

/** The stack of layers as one fact. */
export const parentFact = ({ layers }: StageState): string =>
  layers.length === 0 ? "scratch" : digestOf(new TextEncoder().encode(layers.join()));
