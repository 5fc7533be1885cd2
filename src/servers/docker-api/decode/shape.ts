/**
 * JSON from clients, checked against a shape: what Go's json decoder does for Docker's daemon, with its sentences.
 *
 * As there: names match without case, unknown names are passed over (clients send what older daemons knew),
 * `null` is "not given". Unlike there: a NUL byte in a string is refused, since no system call could take it.
 */
import { assert, invalid } from "#base";

/** The type of one field. */
export type Shape =
  | "string"
  | "bool"
  | "int"
  | "int64"
  | "uint16"
  | "uint"
  /** Any JSON object: Go's `struct{}`. */
  | "empty"
  /** One string, or a list of them. */
  | "words"
  | { readonly list: Shape }
  | { readonly map: Shape }
  | { readonly struct: string; readonly fields: Readonly<Record<string, Shape>> };

/** The shapes of every field of a wire type: a field forgotten does not compile. */
export type FieldsOf<Wire> = Readonly<Record<keyof Wire, Shape>>;

const INTEGER_RANGE: Readonly<
  Record<"int" | "int64" | "uint16" | "uint", readonly [number, number]>
> = {
  int: [-(2 ** 63), 2 ** 63],
  int64: [-(2 ** 63), 2 ** 63],
  uint16: [0, 65_535],
  uint: [0, 2 ** 64],
};

/**
 * The value with only the fields of its shape, each of the right type; what was null is left out.
 * @param Wire the type that `shape` describes, every field optional
 * @throws EngineError "invalid": `invalid JSON: json: cannot unmarshal string into Go struct field …`
 */
export function decodeShape<Wire>(value: unknown, shape: Shape): Partial<Wire> {
  assert(typeof shape === "object" && "struct" in shape, "the outermost shape is a struct");
  return decode(value, shape, shape.struct, "") ?? {};
}

/** undefined where the value is null. */
function decode(value: unknown, shape: Shape, struct: string, path: string): unknown {
  if (value === null || value === undefined) return undefined;
  if (typeof shape === "string") return decodeScalar(value, shape, struct, path);
  if ("list" in shape) {
    if (!Array.isArray(value)) throw mismatch(value, goName(shape), struct, path);
    return value.map((one: unknown) => decode(one, shape.list, struct, path) ?? zero(shape.list));
  }
  if (typeof value !== "object" || Array.isArray(value)) {
    throw mismatch(value, goName(shape), struct, path);
  }
  if ("map" in shape) {
    return Object.fromEntries(
      Object.entries(value).map(([key, one]: [string, unknown]) => [
        withoutNul(key, path),
        decode(one, shape.map, struct, path) ?? zero(shape.map),
      ]),
    );
  }
  return decodeStruct(value, shape, struct, path);
}

function decodeStruct(
  value: object,
  shape: Extract<Shape, { struct: string }>,
  struct: string,
  path: string,
): object {
  const decoded: Record<string, unknown> = {};
  for (const [key, one] of Object.entries(value) as [string, unknown][]) {
    const name = Object.hasOwn(shape.fields, key) ? key : foldedNames(shape).get(key.toLowerCase());
    if (name === undefined) continue;
    const field = shape.fields[name];
    assert(field !== undefined, "a folded name is a field");
    const inner = decode(one, field, struct, path === "" ? name : `${path}.${name}`);
    if (inner !== undefined) decoded[name] = inner;
  }
  return decoded;
}

/** Lower-case to real names, made once for each shape that meets an unknown name. */
const folded = new WeakMap<object, ReadonlyMap<string, string>>();
function foldedNames(shape: Extract<Shape, { struct: string }>): ReadonlyMap<string, string> {
  let names = folded.get(shape);
  if (names === undefined) {
    names = new Map(Object.keys(shape.fields).map((name) => [name.toLowerCase(), name]));
    folded.set(shape, names);
  }
  return names;
}

function decodeScalar(
  value: unknown,
  shape: Extract<Shape, string>,
  struct: string,
  path: string,
): unknown {
  switch (shape) {
    case "string":
      if (typeof value !== "string") throw mismatch(value, "string", struct, path);
      return withoutNul(value, path);
    case "bool":
      if (typeof value !== "boolean") throw mismatch(value, "bool", struct, path);
      return value;
    case "empty":
      if (typeof value !== "object" || Array.isArray(value)) {
        throw mismatch(value, "struct {}", struct, path);
      }
      return {};
    case "words": {
      const words = typeof value === "string" ? [value] : value;
      return decode(words, { list: "string" }, struct, path);
    }
    case "int":
    case "int64":
    case "uint16":
    case "uint": {
      if (typeof value !== "number") throw mismatch(value, shape, struct, path);
      const [least, most] = INTEGER_RANGE[shape];
      if (!Number.isInteger(value) || value < least || value > most) {
        throw mismatch(`number ${value}`, shape, struct, path, true);
      }
      return value;
    }
  }
}

function withoutNul(text: string, path: string): string {
  if (text.includes("\0")) throw invalid(`invalid JSON: ${path} holds a NUL byte`);
  return text;
}

/** What Go leaves in a list or map where the JSON says null. */
function zero(shape: Shape): unknown {
  if (shape === "string") return "";
  if (shape === "bool") return false;
  if (shape === "empty") return {};
  if (shape === "words") return [];
  if (typeof shape === "string") return 0;
  return "list" in shape ? [] : {};
}

function goName(shape: Shape): string {
  if (shape === "words") return "[]string";
  if (shape === "empty") return "struct {}";
  if (typeof shape === "string") return shape;
  if ("list" in shape) return `[]${goName(shape.list)}`;
  if ("map" in shape) return `map[string]${goName(shape.map)}`;
  return shape.struct;
}

function mismatch(
  value: unknown,
  type: string,
  struct: string,
  path: string,
  described = false,
): Error {
  const found = described ? String(value) : Array.isArray(value) ? "array" : typeof value;
  const word = found === "boolean" ? "bool" : found;
  const where = path === "" ? "Go value" : `Go struct field ${struct}.${path}`;
  return invalid(`invalid JSON: json: cannot unmarshal ${word} into ${where} of type ${type}`);
}
