/** The functions of templates: Go's own and docker's. */
import { formatPrintf } from "./printf.ts";
import { isMap, isObject, isTrue, printValue, Row, typeName, type Value } from "./values.ts";

const text = (value: Value): string => (typeof value === "string" ? value : printValue(value));

const ESCAPED: Readonly<Record<string, string>> = {
  "<": "\\u003c",
  ">": "\\u003e",
  "&": "\\u0026",
};

/** Rows are written the way Go's encoder does by itself, everything else without escapes for HTML. */
function toJson(value: Value): string {
  const text = JSON.stringify(value ?? null, (_, item: Value) => {
    if (typeof item === "bigint") return `#bigint:${item}#`;
    return isMap(item) ? sortedByKey(item as object) : item;
  }).replaceAll(/"#bigint:(-?\d+)#"/g, "$1");
  const ofRows = Array.isArray(value) && value.some((item) => item instanceof Row);
  return value instanceof Row || ofRows
    ? text.replaceAll(/[<>&]/g, (found) => ESCAPED[found] ?? found)
    : text;
}

/** As Go writes maps. */
const sortedByKey = (map: object): object =>
  Object.fromEntries(Object.entries(map).toSorted(([one], [other]) => (one < other ? -1 : 1)));

function want(count: number, args: readonly Value[], name: string): void {
  if (args.length !== count) {
    throw new Error(`wrong number of args for ${name}: want ${count} got ${args.length}`);
  }
}

/** Every function except `and` and `or`, which decide what is evaluated at all. */
export const functions: Readonly<Record<string, (...args: Value[]) => Value>> = {
  // Docker's.
  json: (...args) => {
    want(1, args, "json");
    return toJson(args[0]);
  },
  split: (value, separator) => text(value).split(text(separator)),
  join: (list, separator) => items(list).map(text).join(text(separator)),
  title: (value) =>
    text(value).replaceAll(
      /(^|[^\p{L}\p{Nd}_'])(\p{L})/gu,
      (_, a: string, b: string) => a + b.toUpperCase(),
    ),
  lower: (value) => text(value).toLowerCase(),
  upper: (value) => text(value).toUpperCase(),
  pad: (value, left, right) => {
    const content = text(value);
    return content === ""
      ? content
      : " ".repeat(Number(left)) + content + " ".repeat(Number(right));
  },
  truncate: (value, length) => {
    const content = text(value);
    const limit = Number(length);
    return content.length < limit ? content : content.slice(0, limit);
  },
  // Go's.
  not: (value) => !isTrue(value),
  len: (value) => lengthOf(value),
  index: (value, ...keys) => keys.reduce(indexOne, value),
  slice: (value, from, to) => sliceOf(value, from, to),
  print: (...args) => sprint(args),
  println: (...args) => `${args.map((item) => printValue(item, true)).join(" ")}\n`,
  printf: (format, ...args) => formatPrintf(text(format), args),
  html: (...args) =>
    sprint(args).replaceAll(/[&<>"'\0]/g, (character) => HTML[character] ?? character),
  js: (...args) => JSON.stringify(sprint(args)).slice(1, -1).replaceAll("'", "\\'"),
  urlquery: (...args) => encodeURIComponent(sprint(args)).replaceAll("%20", "+"),
  eq: (first, ...others) => {
    if (others.length === 0) throw new Error("missing argument for comparison");
    return others.some((other) => equal(first, other));
  },
  ne: (left, right) => !equal(left, right),
  lt: (left, right) => compare(left, right) < 0,
  le: (left, right) => compare(left, right) <= 0,
  gt: (left, right) => compare(left, right) > 0,
  ge: (left, right) => compare(left, right) >= 0,
};

const HTML: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&#34;",
  "'": "&#39;",
  "\0": "\uFFFD",
};

/** Go's Sprint: a space between two neighbours when neither is a string. */
function sprint(args: readonly Value[]): string {
  return args
    .map((item, index) => {
      const before = args[index - 1];
      const space = index > 0 && typeof item !== "string" && typeof before !== "string";
      return (space ? " " : "") + printValue(item, true);
    })
    .join("");
}

function items(value: Value): readonly Value[] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw new Error(`wrong type for value; expected []string; got ${typeName(value)}`);
}

function lengthOf(value: Value): number {
  if (typeof value === "string") return new TextEncoder().encode(value).length;
  if (Array.isArray(value)) return value.length;
  if (value === null || value === undefined) throw new Error("len of nil pointer");
  if (isObject(value)) return Object.keys(value).length;
  throw new Error(`len of type ${typeName(value)}`);
}

function indexOne(value: Value, key: Value): Value {
  if (value === null || value === undefined) throw new Error("index of untyped nil");
  if (Array.isArray(value)) {
    const at = Number(key);
    if (!Number.isInteger(at))
      throw new Error(`cannot index slice/array with type ${typeName(key)}`);
    if (at < 0 || at >= value.length) {
      throw new Error(`reflect: slice index out of range`);
    }
    return value[at];
  }
  if (typeof value === "string") {
    const bytes = new TextEncoder().encode(value);
    const at = Number(key);
    if (at < 0 || at >= bytes.length) throw new Error(`index out of range: ${at}`);
    return bytes[at];
  }
  if (!isObject(value) || value instanceof Row) {
    throw new Error(`can't index item of type ${typeName(value)}`);
  }
  const name = text(key);
  if (Object.hasOwn(value, name)) return value[name];
  // Maps of texts answer "" for a key they lack; labels are what people ask for.
  const others = Object.values(value);
  return isMap(value) && others.every((other) => typeof other === "string") ? "" : undefined;
}

function sliceOf(value: Value, from: Value, to: Value): Value {
  const start = from === undefined ? 0 : Number(from);
  if (typeof value !== "string" && !Array.isArray(value)) {
    throw new Error(`can't slice item of type ${typeName(value)}`);
  }
  const end = to === undefined ? value.length : Number(to);
  if (start < 0 || end > value.length) {
    throw new Error(`index out of range: ${start < 0 ? start : end}`);
  }
  if (start > end) throw new Error(`invalid slice index: ${start} > ${end}`);
  return value.slice(start, end);
}

function equal(left: Value, right: Value): boolean {
  const [a, b] = [left ?? null, right ?? null];
  if (a === null || b === null) return a === b;
  if (typeof a === "object" || typeof b === "object") {
    throw new Error("non-comparable type");
  }
  if (typeof a !== typeof b) throw new Error("incompatible types for comparison");
  return a === b;
}

function compare(left: Value, right: Value): number {
  if (typeof left === "number" && typeof right === "number") return left - right;
  if (typeof left === "string" && typeof right === "string") {
    if (left === right) return 0;
    return left < right ? -1 : 1;
  }
  if (typeof left !== typeof right) throw new Error("incompatible types for comparison");
  throw new Error("invalid type for comparison");
}
