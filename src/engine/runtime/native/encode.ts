/**
 * A plan laid out in one block of memory, as trampoline.ts reads it:
 *
 *   struct step { i64 nr, arg[6], use, out; u64 allow[2]; }   88 bytes each
 *   texts, bytes, vectors, areas                              8-byte aligned
 *
 * `nr` is a system call's number, or negative for a control; bit i of `use` says that arg[i] names a register;
 * `out` is the register for the result, -1 for none; bit e of `allow` says that error e is an answer.
 */
import { ptr } from "bun:ffi";

import { assert } from "#base";
import { allocate, errnoNumbers, syscallNumbers } from "#linux/ffi";

import {
  type Argument,
  controls,
  isControl,
  type Plan,
  REGISTER_COUNT,
  type Step,
} from "./plan.ts";

export const STEP_BYTES = 88;
const WORDS_PER_STEP = STEP_BYTES / 4;

export interface EncodedPlan {
  /** Keep this reachable until the child has executed or ended. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly stepCount: number;
  /** Which register has which name, for reading a report. */
  readonly registers: ReadonlyMap<string, number>;
}

const aligned = (size: number): number => (size + 7) & ~7;

/** Where every piece of data goes, behind the steps. */
class Data {
  readonly #texts = new Map<string, number>();
  readonly #areas = new Map<string, number>();
  readonly #blocks = new Map<Uint8Array, number>();
  readonly #fills: ((memory: Uint8Array, address: number, view: DataView) => void)[] = [];
  #end: number;

  constructor(start: number) {
    this.#end = start;
  }

  get sizeBytes(): number {
    return this.#end;
  }

  text(text: string): number {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const bytes = Buffer.from(text);
    assert(!bytes.includes(0), "no text of a plan holds a NUL");
    const offset = this.#reserve(bytes.length + 1);
    this.#fills.push((memory) => memory.set(bytes, offset));
    this.#texts.set(text, offset);
    return offset;
  }

  bytes(bytes: Uint8Array, pointers: readonly { offset: number; to: Uint8Array }[] = []): number {
    const known = this.#blocks.get(bytes);
    if (known !== undefined) return known;
    const offset = this.#reserve(bytes.length);
    this.#blocks.set(bytes, offset);
    this.#fills.push((memory) => memory.set(bytes, offset));
    for (const pointer of pointers) {
      const target = this.bytes(pointer.to);
      this.#fills.push((_, address, view) =>
        view.setBigUint64(offset + pointer.offset, BigInt(address + target), true),
      );
    }
    return offset;
  }

  vector(texts: readonly string[]): number {
    const offsets = texts.map((text) => this.text(text));
    const offset = this.#reserve((texts.length + 1) * 8);
    this.#fills.push((_, address, view) => {
      for (const [index, target] of offsets.entries()) {
        view.setBigUint64(offset + index * 8, BigInt(address + target), true);
      }
    });
    return offset;
  }

  area(name: string, sizeBytes: number): number {
    const known = this.#areas.get(name);
    if (known !== undefined) return known;
    const offset = this.#reserve(sizeBytes);
    this.#areas.set(name, offset);
    return offset;
  }

  fill(memory: Uint8Array<ArrayBuffer>, address: number): void {
    const view = new DataView(memory.buffer);
    for (const fill of this.#fills) fill(memory, address, view);
  }

  #reserve(sizeBytes: number): number {
    const offset = this.#end;
    this.#end = aligned(offset + sizeBytes);
    return offset;
  }
}

interface Word {
  /** The value, or the offset of data in the block. */
  readonly value: number | bigint;
  readonly relative: boolean;
}

function wordOf(argument: Argument, data: Data, registerOf: (name: string) => number): Word {
  if (typeof argument !== "object") return { value: argument, relative: false };
  if ("register" in argument) return { value: registerOf(argument.register), relative: false };
  if ("plan" in argument) {
    // The length is known when everything is laid out: it is patched in `encodePlan`.
    return { value: argument.plan === "address" ? 0 : -1, relative: true };
  }
  if ("text" in argument) return { value: data.text(argument.text), relative: true };
  if ("vector" in argument) return { value: data.vector(argument.vector), relative: true };
  if ("area" in argument) {
    const { area, sizeBytes, offset = 0 } = argument;
    return { value: data.area(area, sizeBytes) + offset, relative: true };
  }
  return { value: data.bytes(argument.bytes, argument.pointers), relative: true };
}

/** Lays a plan out. */
export function encodePlan({ steps }: Plan): EncodedPlan {
  const registers = new Map<string, number>();
  const registerOf = (name: string): number => {
    const index = registers.get(name) ?? registers.size;
    assert(index < REGISTER_COUNT, "a plan has registers left");
    registers.set(name, index);
    return index;
  };
  const data = new Data(aligned(steps.length * STEP_BYTES));
  const words = steps.map((step) =>
    step.args.map((argument) => wordOf(argument, data, registerOf)),
  );
  const memory = allocate(data.sizeBytes);
  const address = ptr(memory) as number;
  const cells = new Int32Array(memory.buffer, 0, steps.length * WORDS_PER_STEP);
  for (const [index, step] of steps.entries()) {
    encodeStep(cells, index * WORDS_PER_STEP, step, registerOf);
    for (const [position, { value, relative }] of (words[index] ?? []).entries()) {
      const word = relative ? (value === -1 ? data.sizeBytes : address + Number(value)) : value;
      setWord(cells, index * WORDS_PER_STEP + 2 + position * 2, word);
    }
  }
  data.fill(memory, address);
  return { memory, stepCount: steps.length, registers };
}

function encodeStep(
  cells: Int32Array,
  at: number,
  step: Step,
  registerOf: (name: string) => number,
): void {
  setWord(cells, at, isControl(step.call) ? controls[step.call] : syscallNumbers[step.call]);
  let use = 0;
  for (const [position, argument] of step.args.entries()) {
    if (typeof argument === "object" && "register" in argument) use |= 1 << position;
  }
  setWord(cells, at + 14, use);
  setWord(cells, at + 16, step.result === undefined ? -1 : registerOf(step.result));
  for (const name of step.allow ?? []) {
    const errno = errnoNumbers[name];
    cells[at + 18 + (errno >> 5)] = (cells[at + 18 + (errno >> 5)] ?? 0) | (1 << (errno & 31));
  }
}

function setWord(cells: Int32Array, at: number, value: number | bigint): void {
  if (typeof value === "bigint") {
    cells[at] = Number(BigInt.asIntN(32, value));
    cells[at + 1] = Number(BigInt.asIntN(32, value >> 32n));
  } else {
    cells[at] = value;
    cells[at + 1] = Math.floor(value / 0x1_0000_0000);
  }
}
