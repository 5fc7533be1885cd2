/** Parsing of Go's text/template: text, actions, trim markers, comments, if, with, range, variables, pipelines. */
import type { Node, Operand, ParsedTemplate, Pipe } from "./nodes.ts";
import { TemplateError } from "./nodes.ts";
import { tokens, type Token } from "./lex.ts";

/** The parsed template. @throws TemplateError */
export function parseTemplate(
  source: string,
  { name, functions }: { name: string; functions: ReadonlySet<string> },
): ParsedTemplate {
  const parser = new Parser(source, name, functions);
  const { nodes, end } = parser.list();
  if (end !== undefined) throw parser.error(end.at, `unexpected {{${end.text}}}`);
  return { nodes, defined: parser.defined };
}

type Ending = { readonly text: "end" | "else"; readonly at: number; readonly more: boolean };

class Parser {
  readonly #tokens: readonly Token[];
  readonly #source: string;
  readonly #name: string;
  readonly #functions: ReadonlySet<string>;
  /** What `define` and `block` made. */
  readonly defined = new Map<string, readonly Node[]>();
  #variables: string[] = ["$"];
  /** How many blocks are open: `define` stands in none. */
  #depth = 0;
  #at = 0;
  #loops = 0;

  constructor(source: string, name: string, functions: ReadonlySet<string>) {
    this.#source = source;
    this.#name = name;
    this.#functions = functions;
    this.#tokens = tokens(source, (at, message) => this.error(at, message));
  }

  error(at: number, message: string): TemplateError {
    const line = this.#source.slice(0, at).split("\n").length;
    return new TemplateError(`template: ${this.#name}:${line}: ${message}`);
  }

  /** Nodes until the template ends, or until an `end` or `else` of the block they are in. */
  list(): { nodes: Node[]; end: Ending | undefined } {
    const nodes: Node[] = [];
    for (let token = this.#next(); token.kind !== "eof"; token = this.#next()) {
      if (token.kind === "text") {
        nodes.push({ kind: "text", text: token.text });
        continue;
      }
      const ending = this.#action(nodes);
      if (ending !== undefined) return { nodes, end: ending };
    }
    return { nodes, end: undefined };
  }

  /** One action; `{{` is behind us. */
  #action(nodes: Node[]): Ending | undefined {
    const token = this.#peek();
    if (token.kind === "word") {
      switch (token.text) {
        case "if":
        case "with":
        case "range":
          this.#next();
          nodes.push(this.#block(token.text, token.at));
          return undefined;
        case "end":
          this.#next();
          this.#close("end");
          return { text: "end", at: token.at, more: false };
        case "else": {
          this.#next();
          const more = this.#peek().kind === "word";
          if (!more) this.#close("else");
          return { text: "else", at: token.at, more };
        }
        case "break":
        case "continue":
          this.#next();
          if (this.#loops === 0) throw this.error(token.at, `{{${token.text}}} outside {{range}}`);
          this.#close(token.text);
          nodes.push({ kind: token.text });
          return undefined;
        case "define":
          if (this.#depth > 0) break;
          this.#next();
          this.#define(token.at);
          return undefined;
        case "template":
        case "block":
          this.#next();
          nodes.push(this.#invoke(token.text, token.at));
          return undefined;
        default:
      }
    }
    nodes.push({ kind: "action", pipe: this.#pipe("command") });
    this.#close("command");
    return undefined;
  }

  #block(kind: "if" | "with" | "range", at: number): Node {
    const scope = this.#variables.length;
    const pipe = this.#pipe(kind);
    this.#close(kind);
    if (kind === "range") this.#loops += 1;
    this.#depth += 1;
    const { nodes: body, end } = this.list();
    if (kind === "range") this.#loops -= 1;
    if (end === undefined) throw this.error(at, "unexpected EOF");
    const otherwise = end.text === "else" ? this.#otherwise(kind, end) : [];
    this.#variables.length = scope;
    this.#depth -= 1;
    return { kind, pipe, body, otherwise };
  }

  /** `{{define "name"}}…{{end}}`. */
  #define(at: number): void {
    const name = this.#nameOf("define clause");
    this.#close("define clause");
    this.#body(name, at);
  }

  /** `{{template "name" pipeline}}`, and `{{block}}`, which defines it at the same place. */
  #invoke(kind: "template" | "block", at: number): Node {
    const nameAt = this.#peek().at;
    const context = `${kind} clause`;
    const name = this.#nameOf(context);
    const bare = kind === "template" && this.#peek().kind === "close";
    const pipe = bare ? undefined : this.#pipe(context);
    this.#close(context);
    if (kind === "block") this.#body(name, at);
    return { kind: "template", at: nameAt, name, pipe };
  }

  #nameOf(context: string): string {
    const token = this.#next();
    if (token.kind === "literal" && typeof token.value === "string") return token.value;
    throw this.#unexpected(token, context);
  }

  /** What a template under a name holds: it sees none of the variables around it. */
  #body(name: string, at: number): void {
    const outside = { variables: this.#variables, loops: this.#loops };
    this.#variables = ["$"];
    this.#loops = 0;
    this.#depth += 1;
    const { nodes, end } = this.list();
    this.#depth -= 1;
    this.#variables = outside.variables;
    this.#loops = outside.loops;
    if (end === undefined) throw this.error(at, "unexpected EOF");
    if (end.text === "else") throw this.error(end.at, "unexpected {{else}} in define clause");
    this.defined.set(name, nodes);
  }

  #otherwise(kind: "if" | "with" | "range", ending: Ending): Node[] {
    if (ending.more) {
      const token = this.#next();
      if (token.text !== kind || kind === "range") throw this.#unexpected(token, "else");
      return [this.#block(kind, token.at)]; // `else if` shares the `end` of its `if`
    }
    const { nodes, end } = this.list();
    if (end === undefined) throw this.error(ending.at, "unexpected EOF");
    if (end.text === "else") throw this.error(end.at, "expected end; found {{else}}");
    return nodes;
  }

  #pipe(context: string): Pipe {
    const at = this.#peek().at;
    const { variables, assign } = this.#declaration(context);
    const commands: Operand[][] = [];
    for (;;) {
      commands.push(this.#command(context));
      if (this.#peek().kind !== "pipe") break;
      this.#next();
    }
    return { at, variables, assign, commands };
  }

  /** `$x :=`, `$i, $x :=`, `$x =` before a pipeline. */
  #declaration(context: string): { variables: string[]; assign: boolean } {
    const [first, second, third, fourth] = this.#tokens.slice(this.#at, this.#at + 4);
    if (first?.kind !== "variable") return { variables: [], assign: false };
    if (second?.kind === "declare" || second?.kind === "assign") {
      this.#at += 2;
      return this.#declare([first], second.kind === "assign");
    }
    const two = second?.kind === "comma" && third?.kind === "variable";
    if (context === "range" && two && (fourth?.kind === "declare" || fourth?.kind === "assign")) {
      this.#at += 4;
      return this.#declare([first, third], fourth.kind === "assign");
    }
    return { variables: [], assign: false };
  }

  #declare(found: readonly Token[], assign: boolean): { variables: string[]; assign: boolean } {
    for (const { text, at } of found) {
      if (!assign) this.#variables.push(text);
      else if (!this.#variables.includes(text)) {
        throw this.error(at, `undefined variable ${JSON.stringify(text)}`);
      }
    }
    return { variables: found.map(({ text }) => text), assign };
  }

  #command(context: string): Operand[] {
    const operands: Operand[] = [];
    for (;;) {
      const operand = this.#operand();
      if (operand === undefined) break;
      operands.push(operand);
    }
    if (operands.length === 0) {
      const token = this.#peek();
      if (token.kind === "close") throw this.error(token.at, `missing value for ${context}`);
      throw this.#unexpected(token, context);
    }
    return operands;
  }

  #operand(): Operand | undefined {
    const token = this.#peek();
    const base = this.#term(token);
    if (base === undefined) return undefined;
    const names: string[] = [];
    const joinedAt = this.#peek().at;
    for (let next = this.#peek(); next.kind === "field" && next.joined; next = this.#peek()) {
      this.#next();
      names.push(next.text);
    }
    if (names.length === 0) return base;
    if (base.kind === "literal" || base.kind === "dot") {
      throw this.error(token.at, `unexpected . after term ${JSON.stringify(token.text)}`);
    }
    // Go tells where the second part stands.
    if (base.kind === "field") return { ...base, at: joinedAt, names: [...base.names, ...names] };
    return { kind: "field", at: token.at, base, names };
  }

  #term(token: Token): Operand | undefined {
    const { at } = token;
    switch (token.kind) {
      case "literal":
        this.#next();
        return { kind: "literal", at, value: token.value };
      case "dot":
        this.#next();
        return { kind: "dot", at };
      case "field":
        this.#next();
        return { kind: "field", at, base: { kind: "dot", at }, names: [token.text] };
      case "variable":
        this.#next();
        if (!this.#variables.includes(token.text)) {
          throw this.error(at, `undefined variable ${JSON.stringify(token.text)}`);
        }
        return { kind: "variable", at, name: token.text };
      case "word":
        this.#next();
        if (!this.#functions.has(token.text)) {
          throw this.error(at, `function ${JSON.stringify(token.text)} not defined`);
        }
        return { kind: "function", at, name: token.text };
      case "left": {
        this.#next();
        const pipe = this.#pipe("parenthesized pipeline");
        const close = this.#next();
        if (close.kind !== "right") throw this.error(close.at, "unclosed left paren");
        return { kind: "pipe", at, pipe };
      }
      case "text":
      case "open":
      case "close":
      case "right":
      case "pipe":
      case "comma":
      case "declare":
      case "assign":
      case "eof":
        return undefined;
    }
  }

  #close(context: string): void {
    const token = this.#next();
    if (token.kind !== "close") throw this.#unexpected(token, context);
  }

  #unexpected(token: Token, context: string): TemplateError {
    const shown = token.kind === "eof" ? "EOF" : `<${token.text}>`;
    return this.error(token.at, `unexpected ${shown} in ${context}`);
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? { kind: "eof", text: "", at: this.#source.length };
  }

  #next(): Token {
    const token = this.#peek();
    this.#at += 1;
    return token;
  }
}
