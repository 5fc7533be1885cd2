/**
 * A plan: the list of system calls that a cloned child runs to become a container's process, as data.
 * Steps keep results in named registers and use them as arguments later. Nothing here touches the kernel: a plan
 * is written by pure functions, printed by `explainPlan`, laid out in memory by encode.ts and run by trampoline.ts.
 */
import { type ErrnoName, errnoNumbers, errnoSentence, type SyscallName } from "#linux/ffi";

/** What the trampoline does besides system calls. */
export const controls = {
  /** (register, count): jumps over `count` steps when the register holds a result that is no error. */
  skipIfFine: -1,
  /** (register, count): jumps over `count` steps when the register holds an error. */
  skipIfFailed: -2,
  /** (address, mask, wanted, errno): fails with `errno` unless the 64-bit word there, masked, is the wanted one. */
  requireWord: -3,
  /** (value, wanted, errno): fails with `errno` unless both are equal. */
  requireEqual: -4,
  /** (pid): the parent of a second clone tells the supervisor its child and ends; the child goes on. */
  leaveIfParent: -5,
  /** (): tells the supervisor every register and goes on. */
  report: -6,
  /** (address, length): unmaps everything but the plan itself, so nobody who traces the child finds the supervisor's memory. */
  forget: -7,
  /** (errno): fails. */
  fail: -8,
  /** (): every signal's action becomes the default one. */
  defaultSignals: -9,
  /** (pid, count): jumps over `count` steps in the parent of a clone; the child runs them. */
  skipIfParent: -10,
} as const;

export type Control = keyof typeof controls;

/** Registers a plan may use. */
export const REGISTER_COUNT = 40;

export type Argument =
  | number
  | bigint
  /** The result of an earlier step. */
  | { readonly register: string }
  /**
   * What differs between births of one shape and is filled in for each: a descriptor's number, the address of a text
   * or of a list of texts, a text's length.
   */
  | { readonly slot: string; readonly part?: "length" }
  /** The address of a NUL-terminated text. */
  | { readonly text: string }
  /** The address of these bytes; `pointers` puts addresses of further bytes into them. */
  | {
      readonly bytes: Uint8Array;
      readonly pointers?: readonly { readonly offset: number; readonly to: Uint8Array }[];
    }
  /** The address (plus `offset`) of memory of this name that steps write and check. */
  | { readonly area: string; readonly sizeBytes: number; readonly offset?: number }
  /** Where the plan itself lies in memory. */
  | { readonly plan: "address" | "length" };

export interface Step {
  readonly call: SyscallName | Control;
  readonly args: readonly Argument[];
  /** The register that keeps the result, errors too. */
  readonly result?: string;
  /** Errors that are answers. */
  readonly allow?: readonly ErrnoName[];
  /** What the step is for, for people: "mount proc at /proc". */
  readonly says: string;
  /** How a failure's sentence begins, where Docker or runc has one. */
  readonly context?: string;
  /** Steps whose failure clients tell apart: the program itself cannot be executed. */
  readonly failure?: "program";
}

export interface Plan {
  readonly steps: readonly Step[];
}

/** What goes into a plan's slots: numbers as they are, texts and lists of texts by address. */
export type SlotValues = Readonly<Record<string, number | string | readonly string[]>>;

export interface StepOptions {
  readonly result?: string;
  readonly allow?: readonly ErrnoName[];
  readonly context?: string;
  readonly failure?: "program";
}

/** Writes a plan step by step. */
export class PlanWriter {
  readonly #steps: Step[] = [];
  #context: string | undefined;

  /** One system call. */
  call(
    call: SyscallName,
    args: readonly Argument[],
    says: string,
    options: StepOptions = {},
  ): void {
    this.#push(call, args, says, options);
  }

  /** One of the trampoline's own actions. */
  control(call: Control, args: readonly Argument[], says: string, options: StepOptions = {}): void {
    this.#push(call, args, says, options);
  }

  /** Steps that run only when the register's result was an error. */
  ifFailed(register: string, says: string, steps: () => void): void {
    this.#jump("skipIfFine", register, says, steps);
  }

  /** Steps that run only when the register's result was no error. */
  ifFine(register: string, says: string, steps: () => void): void {
    this.#jump("skipIfFailed", register, says, steps);
  }

  /** Steps that only the child of a clone runs; its last one ends it. */
  inChild(register: string, says: string, steps: () => void): void {
    this.#jump("skipIfParent", register, says, steps);
  }

  /** Every step written meanwhile begins its failure with this sentence. */
  within(context: string, steps: () => void): void {
    const outer = this.#context;
    this.#context = context;
    steps();
    this.#context = outer;
  }

  finish(): Plan {
    return { steps: this.#steps };
  }

  #jump(control: Control, register: string, says: string, steps: () => void): void {
    const at = this.#steps.length;
    this.control(control, [{ register }, 0], says);
    steps();
    const count = this.#steps.length - at - 1;
    const jump = this.#steps[at];
    if (jump !== undefined) this.#steps[at] = { ...jump, args: [{ register }, count] };
  }

  #push(
    call: SyscallName | Control,
    args: readonly Argument[],
    says: string,
    { result, allow, failure, context = this.#context }: StepOptions,
  ): void {
    this.#steps.push({
      call,
      args,
      says,
      ...(result === undefined ? {} : { result }),
      ...(allow === undefined ? {} : { allow }),
      ...(context === undefined ? {} : { context }),
      ...(failure === undefined ? {} : { failure }),
    });
  }
}

/** Whether a step is the trampoline's own. */
export const isControl = (call: SyscallName | Control): call is Control =>
  Object.hasOwn(controls, call);

/** What a failed step says: its context, else itself, and the error in Go's words. */
export const stepFailure = (step: Step, errno: number): string =>
  `${step.context ?? `${step.call} (${step.says})`}: ${errnoSentence(errno)}`;

/** The error number of a name, for a control's argument. */
export const errnoOf = (name: ErrnoName): number => errnoNumbers[name];

const shown = (argument: Argument): string => {
  if (typeof argument === "number") {
    return argument > 0xffff ? `0x${argument.toString(16)}` : `${argument}`;
  }
  if (typeof argument === "bigint") return `0x${argument.toString(16)}`;
  if ("register" in argument) return `$${argument.register}`;
  if ("slot" in argument) return `<${argument.slot}${argument.part ? `.${argument.part}` : ""}>`;
  if ("text" in argument) return JSON.stringify(argument.text);
  if ("area" in argument) return `&${argument.area}${argument.offset ? `+${argument.offset}` : ""}`;
  if ("plan" in argument) return `plan.${argument.plan}`;
  return `{${argument.bytes.length} bytes}`;
};

/** A plan as people read it. What differs between births of one shape is named in angle brackets, not shown: it holds secrets. */
export function explainPlan(plan: Plan): string {
  const width = `${plan.steps.length}`.length;
  return plan.steps
    .map((step, index) => {
      const number = `${index + 1}`.padStart(width);
      const result = step.result === undefined ? "" : `$${step.result} = `;
      const allowed = step.allow === undefined ? "" : `  (or ${step.allow.join(", ")})`;
      const call = `${result}${step.call}(${step.args.map(shown).join(", ")})`;
      return `${number}  ${step.says}\n${" ".repeat(width + 4)}${call}${allowed}`;
    })
    .join("\n");
}
