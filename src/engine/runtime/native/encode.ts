/**
 * A plan laid out in one block of memory, as trampoline.ts reads it:
 *
 *   struct step { i64 nr, arg[6], use, out; u64 allow[2]; }   88 bytes each
 *   texts, bytes, areas                                       8-byte aligned
 *   what was filled into slots
 *
 * `nr` is a system call's number, or negative for a control; bit i of `use` says that arg[i] names a register;
 * `out` is the register for the result, -1 for none; bit e of `allow` says that error e is an answer.
 *
 * A block never moves, so it is laid out once and only its slots are filled for each child: a cloned child has
 * its own copy.
 */
import { ptr } from "bun:ffi";

import { assert, invalid } from "#base";
import { allocate, errnoNumbers, syscallNumbers } from "#linux/ffi";

import {
  type Argument,
  controls,
  isControl,
  type Plan,
  REGISTER_COUNT,
  type SlotValues,
  type Step,
} from "./plan.ts";

export const STEP_BYTES = 88;
const WORDS_PER_STEP = STEP_BYTES / 4;

/** Where a slot's value goes. */
interface SlotPlace {
  readonly slot: string;
  readonly length: boolean;
  /** Index of the word's lower half in the block as 32-bit cells. */
  readonly cell: number;
}

export interface EncodedPlan {
  /** Keep this reachable until the child was cloned. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly cells: Int32Array<ArrayBuffer>;
  readonly address: number;
  readonly stepCount: number;
  /** Which register has which name, for reading a report. */
  readonly registers: ReadonlyMap<string, number>;
  readonly places: readonly SlotPlace[];
  /** Where the texts of slots begin. */
  readonly slotsAt: number;
}

const aligned = (size: number): number => (size + 7) & ~7;

interface Pointer {
  readonly offset: number;
  readonly to: Uint8Array;
}

/** Where every piece of data goes, behind the steps. */
class Data {
  readonly #texts = new Map<string, number>();
  readonly #areas = new Map<string, number>();
  readonly #blocks = new Map<Uint8Array, number>();
  readonly #copies: { readonly bytes: Uint8Array; readonly offset: number }[] = [];
  readonly #pointers: { readonly offset: number; readonly target: number }[] = [];
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
    this.#copies.push({ bytes, offset });
    this.#texts.set(text, offset);
    return offset;
  }

  bytes(bytes: Uint8Array, pointers: readonly Pointer[] = []): number {
    const known = this.#blocks.get(bytes);
    if (known !== undefined) return known;
    const offset = this.#reserve(bytes.length);
    this.#copies.push({ bytes, offset });
    this.#blocks.set(bytes, offset);
    for (const pointer of pointers) {
      const target = this.bytes(pointer.to);
      this.#pointers.push({ offset: offset + pointer.offset, target });
    }
    return offset;
  }

  area(name: string, sizeBytes: number): number {
    const known = this.#areas.get(name);
    if (known !== undefined) return known;
    const offset = this.#reserve(sizeBytes);
    this.#areas.set(name, offset);
    return offset;
  }

  fill(memory: Uint8Array, cells: Int32Array, address: number): void {
    for (const { bytes, offset } of this.#copies) memory.set(bytes, offset);
    for (const { offset, target } of this.#pointers) setWord(cells, offset / 4, address + target);
  }

  #reserve(sizeBytes: number): number {
    const offset = this.#end;
    this.#end = aligned(offset + sizeBytes);
    return offset;
  }
}

type Word =
  | { readonly kind: "value"; readonly value: number | bigint }
  | { readonly kind: "offset"; readonly value: number }
  | { readonly kind: "total" }
  | { readonly kind: "slot"; readonly slot: string; readonly length: boolean };

function wordOf(argument: Argument, data: Data, registerOf: (name: string) => number): Word {
  if (typeof argument !== "object") return { kind: "value", value: argument };
  if ("register" in argument) return { kind: "value", value: registerOf(argument.register) };
  if ("slot" in argument) {
    return { kind: "slot", slot: argument.slot, length: argument.part === "length" };
  }
  if ("plan" in argument) {
    return argument.plan === "address" ? { kind: "offset", value: 0 } : { kind: "total" };
  }
  if ("text" in argument) return { kind: "offset", value: data.text(argument.text) };
  if ("area" in argument) {
    const { area, sizeBytes, offset = 0 } = argument;
    return { kind: "offset", value: data.area(area, sizeBytes) + offset };
  }
  return { kind: "offset", value: data.bytes(argument.bytes, argument.pointers) };
}

export interface Layout {
  /** Room for the texts of slots. */
  readonly slotBytes: number;
  /** Where the block will lie when it runs; where it is made, when missing. */
  readonly address?: number;
}

/** Lays a plan out, with room for its slots. */
export function encodePlan({ steps }: Plan, layout: Layout): EncodedPlan {
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
  const total = data.sizeBytes + aligned(layout.slotBytes);
  const memory = allocate(total);
  const address = layout.address ?? ptr(memory);
  const cells = new Int32Array(memory.buffer);
  const places: SlotPlace[] = [];
  for (const [index, step] of steps.entries()) {
    const at = index * WORDS_PER_STEP;
    encodeStep(cells, at, step, registerOf);
    for (const [position, word] of (words[index] ?? []).entries()) {
      const cell = at + 2 + position * 2;
      if (word.kind === "slot") places.push({ slot: word.slot, length: word.length, cell });
      else if (word.kind === "total") setWord(cells, cell, total);
      else setWord(cells, cell, word.kind === "offset" ? address + word.value : word.value);
    }
  }
  data.fill(memory, cells, address);
  const slotsAt = data.sizeBytes;
  return { memory, cells, address, stepCount: steps.length, registers, places, slotsAt };
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

/**
 * Fills the slots for one child.
 * @throws EngineError "invalid" for a text that the kernel would cut at its NUL
 * @returns how many bytes of texts are missing room: 0 when the block is ready, else encode again with more
 */
export function fillSlots(plan: EncodedPlan, values: SlotValues): number {
  const { memory, cells, address, places, slotsAt } = plan;
  const words = new Map<string, number>();
  const lengths = new Map<string, number>();
  let end = slotsAt;
  const put = (text: string): number => {
    if (text.includes("\0")) throw invalid("invalid argument: a text holds a NUL byte");
    const offset = end;
    const length = Buffer.byteLength(text);
    end += length + 1;
    if (end <= memory.length) {
      Buffer.from(memory.buffer, offset, length).write(text);
      memory[offset + length] = 0;
    }
    return offset;
  };
  for (const slot in values) {
    const value = values[slot];
    if (typeof value === "number") words.set(slot, value);
    else if (typeof value === "string") {
      const offset = put(value);
      words.set(slot, address + offset);
      lengths.set(slot, end - offset - 1);
    } else if (value !== undefined) {
      const targets = value.map(put);
      const list = aligned(end);
      end = list + (targets.length + 1) * 8;
      if (end > memory.length) continue;
      for (const [index, target] of targets.entries()) {
        setWord(cells, list / 4 + index * 2, address + target);
      }
      setWord(cells, list / 4 + targets.length * 2, 0);
      words.set(slot, address + list);
    }
  }
  if (end > memory.length) return end - memory.length;
  for (const { slot, length, cell } of places) {
    const word = (length ? lengths : words).get(slot);
    assert(word !== undefined, `the slot ${slot} has a value`);
    setWord(cells, cell, word);
  }
  return 0;
}
