/** What a template is made of, after parsing. `at` is the offset in the source, for error messages. */

export type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly pipe: Pipe }
  | {
      readonly kind: "if" | "with";
      readonly pipe: Pipe;
      readonly body: Node[];
      readonly otherwise: Node[];
    }
  | {
      readonly kind: "range";
      readonly pipe: Pipe;
      readonly body: Node[];
      readonly otherwise: Node[];
    }
  | { readonly kind: "break" | "continue" }
  /** `{{template "name" pipeline}}`. */
  | {
      readonly kind: "template";
      readonly at: number;
      readonly name: string;
      readonly pipe: Pipe | undefined;
    };

/** A parsed template: its own nodes, and those it defines under names. */
export interface ParsedTemplate {
  readonly nodes: readonly Node[];
  readonly defined: ReadonlyMap<string, readonly Node[]>;
}

/** `$a, $b := command | command`. */
export interface Pipe {
  readonly at: number;
  readonly variables: readonly string[];
  /** True for `=`: the variables exist already. */
  readonly assign: boolean;
  readonly commands: readonly Operand[][];
}

export type Operand =
  | {
      readonly kind: "literal";
      readonly at: number;
      readonly value: string | number | boolean | null;
    }
  | { readonly kind: "dot"; readonly at: number }
  /** `.A.B` of the dot, of a variable, or of a pipeline in parentheses. */
  | {
      readonly kind: "field";
      readonly at: number;
      readonly base: Operand;
      readonly names: readonly string[];
    }
  | { readonly kind: "variable"; readonly at: number; readonly name: string }
  | { readonly kind: "function"; readonly at: number; readonly name: string }
  | { readonly kind: "pipe"; readonly at: number; readonly pipe: Pipe };

/** A template that cannot be read; the message is Go's. */
export class TemplateError extends Error {}
