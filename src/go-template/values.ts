/**
 * Values inside a template. JSON documents are read as Go would read them into types: an object is a struct (a field
 * it lacks is an error) unless it is known to be a map (a key it lacks has no value).
 */

export type Value = unknown;

/** A row of a table or another thing with computed fields; a function is a method, called with its arguments. */
export class Row {
  /** The type's name in Docker, for its error messages. */
  readonly type: string;
  readonly fields: Readonly<Record<string, Value>>;

  constructor(type: string, fields: Readonly<Record<string, Value>>) {
    this.type = type;
    this.fields = fields;
  }

  /** For `json`: what is no method with arguments, computed. */
  toJSON(): Record<string, Value> {
    const entries = Object.entries(this.fields).filter(
      ([, value]) => typeof value !== "function" || value.length === 0,
    );
    return Object.fromEntries(
      entries
        .map(([name, value]): [string, Value] => [
          name,
          typeof value === "function" ? value() : value,
        ])
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    );
  }
}

/** Keys under which Docker's documents hold maps. Every other object is a struct. */
const MAP_KEYS = new Set(
  "Annotations Attributes Config.LogConfig Containers Data Details DriverOpts Endpoints EndpointsConfig ExposedPorts IndexConfigs Labels Metadata Networks Options PortBindings Ports Runtimes StorageOpt Sysctls TLSMaterial Tmpfs Volumes".split(
    " ",
  ),
);

/** Keys under which they hold lists that may be absent. */
const LIST_KEYS = new Set(
  "Aliases Args Binds CapAdd CapDrop Cmd Config DNSNames DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch Entrypoint Env ExecIDs ExtraHosts GroupAdd Links MaskedPaths OnBuild ReadonlyPaths RepoDigests RepoTags SecurityOpt Shell Tags Ulimits VolumesFrom Warnings".split(
    " ",
  ),
);

const maps = new WeakSet<object>();

const absent = <T extends object>(empty: T): T =>
  Object.defineProperty(empty, "toJSON", { value: () => null });
const NIL_MAP = absent({});
const NIL_LIST = absent([]);
maps.add(NIL_MAP);

/** What a document's null reads as: Go knows by the field's type that it is an empty map or list. */
export function absentValue(key: string): Value {
  if (MAP_KEYS.has(key)) return NIL_MAP;
  return LIST_KEYS.has(key) ? NIL_LIST : null;
}

/** Marks the maps inside a document, so that a template treats them as Go would. */
export function markMaps<T>(document: T, key = "", parent = ""): T {
  if (typeof document !== "object" || document === null) return document;
  if (Array.isArray(document)) {
    for (const element of document) markMaps(element, "", key);
    return document;
  }
  if (MAP_KEYS.has(key) || MAP_KEYS.has(`${key}.${parent}`)) maps.add(document);
  for (const [name, value] of Object.entries(document)) markMaps(value, name, key);
  return document;
}

const types = new WeakMap<object, string>();

/** Gives a document the name its type has in Docker's messages. */
export function asType<T extends object>(name: string, object: T): T {
  types.set(object, name);
  return object;
}

/** Makes an object a map: a key it lacks has no value, rather than being an error. */
export function asMap<T extends object>(object: T): T {
  maps.add(object);
  return object;
}

export const isMap = (value: Value): boolean =>
  typeof value === "object" && value !== null && maps.has(value);

export const isObject = (value: Value): value is Record<string, Value> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Row);

/** Whether `if` takes its branch: zero values and empty things are false. */
export function isTrue(value: Value): boolean {
  if (value === null || value === undefined) return false;
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value !== 0;
  if (typeof value === "bigint") return value !== 0n;
  if (typeof value === "string") return value !== "";
  if (Array.isArray(value)) return value.length > 0;
  if (isObject(value) && isMap(value)) return Object.keys(value).length > 0;
  return true; // a struct is never empty
}

/** What an action prints: Go's %v. */
export function printValue(value: Value, nested = false): string {
  if (value === null || value === undefined) return nested ? "<nil>" : "<no value>";
  if (typeof value === "string") return value;
  if (typeof value === "number") return printNumber(value);
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${value.map((item) => printValue(item, true)).join(" ")}]`;
  const fields: Record<string, Value> = value instanceof Row ? value.toJSON() : { ...value };
  if (isMap(value)) {
    const pairs = Object.keys(fields)
      .toSorted()
      .map((key) => `${key}:${printValue(fields[key], true)}`);
    return `map[${pairs.join(" ")}]`;
  }
  return `{${Object.values(fields)
    .map((item) => printValue(item, true))
    .join(" ")}}`;
}

/** Go prints floats of 1e21 and more, and below 1e-4, with an exponent of two digits at least. */
export function printNumber(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e21) return BigInt(value).toString();
  if (Math.abs(value) >= 1e21 || Math.abs(value) < 1e-4) {
    return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  }
  return String(value);
}

/** The name of a value's type in Go's messages. */
export function typeName(value: Value): string {
  if (value === null || value === undefined) return "nil";
  if (typeof value === "string") return "string";
  if (typeof value === "number") return Number.isInteger(value) ? "int" : "float64";
  if (typeof value === "boolean") return "bool";
  if (value instanceof Row) return value.type;
  const known = typeof value === "object" ? types.get(value) : undefined;
  if (known !== undefined) return known;
  return Array.isArray(value) ? "[]interface {}" : "map[string]interface {}";
}
