/** What a flag is: its name, what kind of value it takes, and the words of its help. */

/**
 * Kinds of values. Those that collect (`list`, `map`, `filter`, …) may be repeated. The name of a kind is what help
 * shows behind the flag, unless `shown` says otherwise.
 */
export type FlagKind =
  | "bool"
  | "string"
  | "int"
  | "int64"
  | "uint"
  | "uint16"
  | "duration"
  | "bytes"
  | "memory-swap"
  | "decimal"
  | "list"
  | "strings";

export interface FlagSpec {
  readonly name: string;
  readonly shorthand?: string;
  /** Its older name, which help does not tell. */
  readonly formerly?: string;
  readonly kind: FlagKind;
  readonly usage: string;
  /** What help shows as the kind; the kind itself when left out. */
  readonly shown?: string;
  /** The value when the flag is not given; false, "", 0 or none when left out. */
  readonly fallback?: boolean | string | number;
  /** What help shows as `(default …)`, when it is not `fallback`. */
  readonly fallbackText?: string;
  /** Checks one value and may rewrite it. @throws Error with the reason */
  readonly check?: (value: string) => string;
  /** For shell completion: fixed values, or the kind of live names. */
  readonly values?: readonly string[] | CompletionKind;
  /** Accepted, but not shown. */
  readonly hidden?: boolean;
}

/** What can be completed with names from the daemon. */
export type CompletionKind =
  | "containers"
  | "running"
  | "stopped"
  | "images"
  | "networks"
  | "volumes"
  | "contexts"
  | "files"
  | "commands"
  | "none";

export type FlagValue = boolean | string | number | readonly string[];

/** The flags of one invocation, as given and checked. Asking for a flag that the command does not have is our mistake. */
export class Flags {
  readonly #values = new Map<string, FlagValue>();
  readonly #changed = new Set<string>();

  constructor(specs: readonly FlagSpec[]) {
    for (const spec of specs) this.#values.set(spec.name, initial(spec));
  }

  /** Sets or, for a kind that collects, appends. */
  set(spec: FlagSpec, value: FlagValue): void {
    const earlier = this.#values.get(spec.name);
    const collects = spec.kind === "list" || spec.kind === "strings";
    const next =
      collects && Array.isArray(earlier) && Array.isArray(value) ? [...earlier, ...value] : value;
    this.#values.set(spec.name, next);
    this.#changed.add(spec.name);
  }

  /** True when the user gave the flag. */
  changed(name: string): boolean {
    return this.#changed.has(name);
  }

  bool(name: string): boolean {
    return this.#get(name) === true;
  }

  string(name: string): string {
    return String(this.#get(name));
  }

  number(name: string): number {
    return Number(this.#get(name));
  }

  list(name: string): readonly string[] {
    const value = this.#get(name);
    return Array.isArray(value) ? value : [];
  }

  /** The number, undefined when the flag was not given. */
  given(name: string): number | undefined {
    return this.changed(name) ? this.number(name) : undefined;
  }

  #get(name: string): FlagValue {
    const value = this.#values.get(name);
    if (value === undefined) throw new Error(`broken invariant: no flag --${name}`);
    return value;
  }
}

function initial(spec: FlagSpec): FlagValue {
  switch (spec.kind) {
    case "bool":
      return spec.fallback === true;
    case "string":
      return spec.fallback ?? "";
    case "int":
    case "int64":
    case "uint":
    case "uint16":
    case "duration":
    case "bytes":
    case "memory-swap":
    case "decimal":
      return spec.fallback ?? 0;
    case "list":
    case "strings":
      return [];
  }
}
