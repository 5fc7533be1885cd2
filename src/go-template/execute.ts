/** Runs a parsed template on a value. */
import { functions } from "./functions.ts";
import { TemplateError, type Node, type Operand, type ParsedTemplate, type Pipe } from "./nodes.ts";
import { parseTemplate } from "./parse.ts";
import {
  absentValue,
  isMap,
  isObject,
  isTrue,
  printValue,
  Row,
  typeName,
  type Value,
} from "./values.ts";

export { TemplateError } from "./nodes.ts";
export { asMap, asType, markMaps, Row, type Value } from "./values.ts";

export interface Template {
  /** @throws TemplateError */
  execute(data: Value, extra?: Functions): string;
}

/** Functions by name: they replace or add to the common ones. */
export type Functions = Readonly<Record<string, (...args: Value[]) => Value>>;

/** Parses a template. @throws TemplateError in Go's words */
export function compileTemplate(source: string, name = ""): Template {
  const known = new Set([...Object.keys(functions), "and", "or"]);
  const parsed = parseTemplate(source, { name, functions: known });
  return {
    execute(data, extra = {}) {
      const run = new Execution({ source, name, parsed }, { ...functions, ...extra }, data);
      run.walk(parsed.nodes, data);
      return run.output;
    },
  };
}

/**
 * The key a field is under. Go's fields have names of their own, which differ from the JSON's in capitals alone
 * (`.ID` for `Id`, `.TimeNano` for `timeNano`); keys of maps are what they are.
 */
function keyOf(
  fields: Readonly<Record<string, Value>>,
  name: string,
  exact: boolean,
): string | undefined {
  if (Object.hasOwn(fields, name)) return name;
  if (exact) return undefined;
  const lower = name.toLowerCase();
  return Object.keys(fields).find((key) => key.toLowerCase() === lower);
}

interface Variable {
  readonly name: string;
  value: Value;
}

interface Compiled {
  readonly source: string;
  readonly name: string;
  readonly parsed: ParsedTemplate;
}

/** How deep templates may use each other: one that uses itself ends here, not on the stack. */
const MAX_DEPTH = 1000;
const UNTYPED = typeName({});

type Flow = "next" | "break" | "continue";

class Execution {
  output = "";
  readonly #source: string;
  readonly #file: string;
  readonly #parsed: ParsedTemplate;
  readonly #functions: Functions;
  /** Of the template that runs now; errors tell it. */
  #name: string;
  #variables: Variable[];
  #depth = 0;

  constructor({ source, name, parsed }: Compiled, known: Functions, data: Value) {
    this.#source = source;
    this.#file = name;
    this.#name = name;
    this.#parsed = parsed;
    this.#functions = known;
    this.#variables = [{ name: "$", value: data }];
  }

  walk(nodes: readonly Node[], dot: Value): Flow {
    for (const node of nodes) {
      const flow = this.#node(node, dot);
      if (flow !== "next") return flow;
    }
    return "next";
  }

  #node(node: Node, dot: Value): Flow {
    switch (node.kind) {
      case "text":
        this.output += node.text;
        return "next";
      case "action": {
        const value = this.#pipe(node.pipe, dot);
        if (node.pipe.variables.length === 0) this.output += printValue(value);
        return "next";
      }
      case "if":
      case "with":
        return this.#scoped(() => {
          const value = this.#pipe(node.pipe, dot);
          if (!isTrue(value)) return this.walk(node.otherwise, dot);
          return this.walk(node.body, node.kind === "with" ? value : dot);
        });
      case "range":
        return this.#scoped(() => this.#range(node, dot));
      case "break":
      case "continue":
        return node.kind;
      case "template":
        this.#template(node, dot);
        return "next";
    }
  }

  #template(node: Extract<Node, { kind: "template" }>, dot: Value): void {
    const { at, name, pipe } = node;
    const body = this.#parsed.defined.get(name);
    const shown = () => this.#source.slice(this.#source.lastIndexOf("{{", at)).split("}}", 1)[0];
    if (body === undefined) {
      throw this.#error(at, `${shown()}}}`, `template ${JSON.stringify(name)} not defined`);
    }
    if (this.#depth >= MAX_DEPTH) {
      const deep = `exceeded maximum template depth (${MAX_DEPTH})`;
      throw this.#error(at, `${shown()}}}`, deep);
    }
    const value = pipe === undefined ? undefined : this.#pipe(pipe, dot);
    const outside = { name: this.#name, variables: this.#variables };
    this.#name = name;
    this.#variables = [{ name: "$", value }];
    this.#depth += 1;
    this.walk(body, value);
    this.#depth -= 1;
    this.#name = outside.name;
    this.#variables = outside.variables;
  }

  #range(node: Extract<Node, { kind: "range" }>, dot: Value): Flow {
    const { pipe, body, otherwise } = node;
    const value = this.#commands(pipe, dot);
    const items = this.#items(value, pipe);
    if (items.length === 0) return this.walk(otherwise, dot);
    for (const [key, item] of items) {
      const [first, second] = pipe.variables;
      const flow = this.#scoped(() => {
        if (first !== undefined && second === undefined) this.#bind(pipe, first, item);
        if (first !== undefined && second !== undefined) {
          this.#bind(pipe, first, key);
          this.#bind(pipe, second, item);
        }
        return this.walk(body, item);
      });
      if (flow === "break") break;
    }
    return "next";
  }

  #items(value: Value, pipe: Pipe): [Value, Value][] {
    if (value === null || value === undefined) return [];
    if (Array.isArray(value)) return value.map((item, index): [Value, Value] => [index, item]);
    if (typeof value === "number") {
      return Array.from({ length: Math.max(0, value) }, (_, index): [Value, Value] => [
        index,
        index,
      ]);
    }
    if (isObject(value)) {
      return Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
    }
    throw this.#error(pipe.at, "range", `range can't iterate over ${printValue(value)}`);
  }

  #scoped(action: () => Flow): Flow {
    const depth = this.#variables.length;
    const flow = action();
    this.#variables.length = depth;
    return flow;
  }

  #bind(pipe: Pipe, name: string, value: Value): void {
    const known = this.#variables.findLast((variable) => variable.name === name);
    if (pipe.assign && known !== undefined) known.value = value;
    else this.#variables.push({ name, value });
  }

  #pipe(pipe: Pipe, dot: Value): Value {
    const value = this.#commands(pipe, dot);
    for (const name of pipe.variables) this.#bind(pipe, name, value);
    return value;
  }

  #commands(pipe: Pipe, dot: Value): Value {
    let value: Value;
    for (const [index, command] of pipe.commands.entries()) {
      value = this.#command(command, dot, index === 0 ? [] : [value]);
    }
    return value;
  }

  /** One command; `final` is what the pipe before it hands over, as the last argument. */
  #command(command: readonly Operand[], dot: Value, final: readonly Value[]): Value {
    const [first, ...rest] = command;
    if (first === undefined) return undefined;
    if (first.kind === "function") return this.#call(first, rest, dot, final);
    if (first.kind === "field") {
      const args = () => [...rest.map((operand) => this.#operand(operand, dot)), ...final];
      return this.#field(first, dot, rest.length + final.length === 0 ? undefined : args);
    }
    if (rest.length > 0 || final.length > 0) {
      const shown = this.#shown(first);
      throw this.#error(first.at, shown, `can't give argument to non-function ${shown}`);
    }
    return this.#operand(first, dot);
  }

  #call(
    { name, at }: Extract<Operand, { kind: "function" }>,
    operands: readonly Operand[],
    dot: Value,
    final: readonly Value[],
  ): Value {
    if (name === "and" || name === "or") {
      // The arguments after the deciding one are not evaluated.
      let value: Value;
      for (const operand of operands) {
        value = this.#operand(operand, dot);
        if (isTrue(value) === (name === "or")) return value;
      }
      return final.length === 0 ? value : final[0];
    }
    const args = [...operands.map((operand) => this.#operand(operand, dot)), ...final];
    try {
      return this.#functions[name]?.(...args);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const known = reason.startsWith("wrong number of args");
      const shown = [name, ...operands.map((operand) => this.#shown(operand))].join(" ");
      const message = known ? reason : `error calling ${name}: ${reason}`;
      throw this.#error(at, known ? name : shown, message);
    }
  }

  #operand(operand: Operand, dot: Value): Value {
    switch (operand.kind) {
      case "literal":
        return operand.value;
      case "dot":
        return dot;
      case "variable":
        return this.#variables.findLast(({ name }) => name === operand.name)?.value;
      case "field":
        return this.#field(operand, dot, undefined);
      case "function":
        return this.#call(operand, [], dot, []);
      case "pipe":
        return this.#pipe(operand.pipe, dot);
    }
  }

  #field(
    operand: Extract<Operand, { kind: "field" }>,
    dot: Value,
    args: (() => Value[]) | undefined,
  ): Value {
    let value = this.#operand(operand.base, dot);
    for (const [index, name] of operand.names.entries()) {
      const last = index === operand.names.length - 1;
      const shown = this.#shown({ ...operand, names: operand.names.slice(0, index + 1) });
      value = this.#select(value, name, {
        at: operand.at,
        shown,
        args: last ? args?.() : undefined,
      });
    }
    return value;
  }

  #select(
    receiver: Value,
    name: string,
    use: { at: number; shown: string; args: Value[] | undefined },
  ): Value {
    const { at, shown, args } = use;
    if (receiver === undefined || receiver === null) {
      throw this.#error(at, shown, `nil data; no entry for key ${JSON.stringify(name)}`);
    }
    if (!(receiver instanceof Row) && !isObject(receiver)) {
      throw this.#error(at, shown, `can't evaluate field ${name} in type ${typeName(receiver)}`);
    }
    const fields = receiver instanceof Row ? receiver.fields : receiver;
    const key = keyOf(fields, name, isMap(receiver));
    const value = key === undefined ? undefined : fields[key];
    if (typeof value === "function") {
      const given = args?.length ?? 0;
      if (value.length !== given) {
        const want = `wrong number of args for ${name}: want ${value.length} got ${given}`;
        throw this.#error(at, shown, want);
      }
      return (value as (...all: Value[]) => Value)(...(args ?? []));
    }
    if (args !== undefined) {
      throw this.#error(at, shown, `${name} is not a method but has arguments`);
    }
    if (key === undefined && !isMap(receiver)) {
      if (receiver instanceof Row) {
        throw this.#error(at, shown, `can't evaluate field ${name} in type ${receiver.type}`);
      }
      const type = typeName(receiver);
      if (type !== UNTYPED) {
        throw this.#error(at, shown, `can't evaluate field ${name} in type ${type}`);
      }
      throw this.#error(at, shown, `map has no entry for key ${JSON.stringify(name)}`);
    }
    if (value === null && !isMap(receiver)) return absentValue(name);
    return value;
  }

  /** An operand as its source reads, for messages. */
  #shown(operand: Operand): string {
    switch (operand.kind) {
      case "literal":
        return JSON.stringify(operand.value);
      case "dot":
        return ".";
      case "variable":
      case "function":
        return operand.name;
      case "pipe":
        return "(...)";
      case "field": {
        const base = operand.base.kind === "dot" ? "" : this.#shown(operand.base);
        return `${base}.${operand.names.join(".")}`;
      }
    }
  }

  #error(at: number, shown: string, message: string): TemplateError {
    const before = this.#source.slice(0, at);
    const line = before.split("\n").length;
    const column = at - (before.lastIndexOf("\n") + 1);
    const where = `${this.#file}:${line}:${column}: executing ${JSON.stringify(this.#name)}`;
    return new TemplateError(`template: ${where} at <${shown}>: ${message}`);
  }
}
