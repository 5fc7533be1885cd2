/**
 * Docker's Engine API 1.51 as a judge: is this JSON what the definition promises for this method, path and status?
 * The definition is engine-api-1.51.json, made by tools/generate-api-contract.ts.
 *
 * Stricter than the definition: fields it does not know are violations, so that a misspelt name shows.
 * Where Docker's own daemon departs from its definition the exceptions are listed by name below.
 */
import contract from "./engine-api-1.51.json" with { type: "json" };

export interface Schema {
  $ref?: string;
  type?: string;
  format?: string;
  enum?: unknown[];
  required?: string[];
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema | boolean;
  allOf?: Schema[];
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  "x-nullable"?: boolean;
}

const definitions = contract.definitions as unknown as Record<string, Schema>;
const paths = contract.paths as unknown as Record<
  string,
  Record<string, Record<string, Schema | null>>
>;

/** What a client may send: by path and method, the query's fields and the body. */
export const requests = contract.requests as unknown as Readonly<
  Record<string, Record<string, { query: Record<string, Schema>; body: Schema | null }>>
>;

/** The schema that a reference leads to, or the schema itself. */
export const resolveSchema = (schema: Schema): Schema =>
  schema.$ref === undefined
    ? schema
    : (definitions[schema.$ref.replace("#/definitions/", "")] ?? {});

/** Where the definition does not allow null, and Docker's daemon answers it: Go's empty lists, maps and pointers. */
const NULL_IN_DOCKER = new Set(
  [
    "HostConfig: Binds VolumesFrom CapAdd CapDrop ExtraHosts GroupAdd Links SecurityOpt MaskedPaths ReadonlyPaths",
    "Resources: DeviceCgroupRules DeviceRequests OomKillDisable MemorySwappiness Devices Ulimits",
    "ContainerConfig: Cmd Entrypoint Volumes Env",
    "ImageConfig: Cmd Entrypoint Volumes Env Labels",
    "EndpointSettings: Links Aliases DNSNames",
    "IPAM: Options",
    "ImageHistoryResponseItem: Tags",
    "Volume: Labels Options",
    "VolumeListResponse: Warnings",
    "VolumePruneResponse: VolumesDeleted",
    "SystemInfo: GenericResources Warnings",
    "PluginsInfo: Authorization",
    "SwarmInfo: RemoteManagers",
    "/networks/prune: NetworksDeleted",
    "/exec/{id}/json: ExitCode",
  ].flatMap((line) => {
    const [owner = "", fields = ""] = line.split(": ");
    return fields.split(" ").map((field) => `${owner}.${field}`);
  }),
);

/** Fields that Docker's daemon sends beyond the definition. */
const BEYOND_DEFINITION = new Set([
  "EventMessage.status",
  "EventMessage.id",
  "EventMessage.from",
  "ImageSummary.VirtualSize",
  "ImageInspect.VirtualSize",
  // To clients of older versions.
  "ImageConfig.AttachStderr",
  "ImageConfig.AttachStdin",
  "ImageConfig.AttachStdout",
  "ImageConfig.Domainname",
  "ImageConfig.Hostname",
  "ImageConfig.Image",
  "ImageConfig.OpenStdin",
  "ImageConfig.StdinOnce",
  "ImageConfig.Tty",
  "SystemInfo.BridgeNfIptables",
  "SystemInfo.BridgeNfIp6tables",
  "Commit.Expected",
  "RegistryServiceConfig.AllowNondistributableArtifactsCIDRs",
  "RegistryServiceConfig.AllowNondistributableArtifactsHostnames",
]);

/** Required by the definition under a name that it does not define: `Size.Unpacked` is what is meant. */
const NOT_IN_DOCKER: ReadonlySet<string> = new Set(["UnpackedSize"]);

/** Streams of JSON lines whose definition names no schema for one line. */
const LINE_SCHEMAS: Readonly<Record<string, string>> = {
  "POST /images/create": "CreateImageInfo",
  "POST /images/load": "CreateImageInfo",
  "POST /images/{name}/push": "PushImageInfo",
};

/** Lines of load and build say more than the definition of a pull knows. */
const LINE_FIELDS = new Set(["stream", "aux", "progressDetail", "errorDetail", "id"]);

export interface Operation {
  readonly method: string;
  /** As the definition writes it: `/containers/{id}/json`. */
  readonly template: string;
  readonly responses: Readonly<Record<string, Schema | null>>;
}

const templates = Object.entries(paths).map(([template, operations]) => ({
  template,
  operations,
  fixed: !template.includes("{"),
  pattern: new RegExp(
    `^(?:/v[0-9.]+)?${template
      .replaceAll(".", "\\.")
      .replaceAll(/\{name\}/g, "(?:.+)")
      .replaceAll(/\{[^}]+\}/g, "[^/]+")}$`,
  ),
}));

/** The operation of a request line, or null for what is no page of the API. */
export function operationOf(method: string, target: string): Operation | null {
  const path = target.split("?", 1)[0] ?? "";
  const matching = templates.filter(
    ({ pattern, operations }) => pattern.test(path) && operations[method] !== undefined,
  );
  const best = matching.find(({ fixed }) => fixed) ?? matching[0];
  const responses = best?.operations[method];
  return best === undefined || responses === undefined
    ? null
    : { method, template: best.template, responses };
}

/** Every operation of the definition. */
export const operations: readonly Operation[] = templates.flatMap(({ template, operations }) =>
  Object.entries(operations).map(([method, responses]) => ({ method, template, responses })),
);

/** What only `naru` asks for. */
const OWN_PATH = /^(?:\/v[\d.]+)?\/build\/context(?:\?|$)/;

/** Docker's experimental routes, of which its definition does not tell. */
const EXPERIMENTAL_PATH = /^(?:\/v[\d.]+)?\/containers\/[^/]+\/checkpoints(?:[/?]|$)/;

/** What is wrong with one JSON answer; nothing when it is as promised. */
export function violationsOf(answer: {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly body: unknown;
}): string[] {
  const { method, path, status, body } = answer;
  const operation = operationOf(method, path);
  const where = `${method} ${path} ${status}`;
  if (status >= 400) return check(body, { $ref: "#/definitions/ErrorResponse" }, { where });
  if (operation === null && (OWN_PATH.test(path) || EXPERIMENTAL_PATH.test(path))) return [];
  if (operation === null) return [`${where}: the definition has no such operation`];
  const schema = operation.responses[String(status)];
  const line = LINE_SCHEMAS[`${method} ${operation.template}`];
  if (line !== undefined) {
    return check(body, { $ref: `#/definitions/${line}` }, { where, loose: LINE_FIELDS });
  }
  if (schema === undefined) return [`${where}: the definition has no such status`];
  if (schema === null) return [];
  return check(body, schema, { where, owner: operation.template });
}

interface Context {
  /** Where in the answer: the beginning of each sentence. */
  readonly where: string;
  /** The definition that the value's fields belong to. */
  readonly owner?: string;
  /** Fields that may be there though the definition does not know them. */
  readonly loose?: ReadonlySet<string>;
}

function check(value: unknown, schema: Schema, context: Context): string[] {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace("#/definitions/", "");
    const target = definitions[name];
    if (target === undefined) return [`${context.where}: no definition ${name}`];
    return check(value, withNull(target, schema), { ...context, owner: name });
  }
  if (value === null) {
    return isNullable(schema) ? [] : [`${context.where}: null is not allowed`];
  }
  if (schema.allOf !== undefined) return checkAll(value, schema, schema.allOf, context);
  switch (schema.type) {
    case "object":
      return checkObject(value, schema, context);
    case "array":
      return checkArray(value, schema, context);
    case undefined:
      return schema.properties === undefined ? [] : checkObject(value, schema, context);
    default:
      return checkScalar(value, schema, context);
  }
}

const withNull = (target: Schema, reference: Schema): Schema =>
  reference["x-nullable"] === true ? { ...target, "x-nullable": true } : target;

const isNullable = (schema: Schema): boolean =>
  schema["x-nullable"] === true ||
  (schema.allOf ?? []).some(({ $ref = "" }) => {
    const target = definitions[$ref.replace("#/definitions/", "")];
    return target !== undefined && isNullable(target);
  });

/** The parts of an `allOf` share their fields: each is checked, and a field is unknown only if all say so. */
function checkAll(
  value: unknown,
  schema: Schema,
  parts: readonly Schema[],
  context: Context,
): string[] {
  const known = new Set<string>(parts.flatMap((part) => fieldsOf(part)));
  const loose = new Set([...known, ...(context.loose ?? [])]);
  return parts.flatMap((part) => check(value, withNull(part, schema), { ...context, loose }));
}

function fieldsOf(schema: Schema): string[] {
  const target =
    schema.$ref === undefined ? schema : definitions[schema.$ref.replace("#/definitions/", "")];
  return [...Object.keys(target?.properties ?? {}), ...(target?.allOf ?? []).flatMap(fieldsOf)];
}

function checkObject(value: unknown, schema: Schema, context: Context): string[] {
  const { where, owner = "", loose } = context;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [`${where}: ${typeof value} is no object`];
  }
  const { properties = {}, additionalProperties: rest, required = [] } = schema;
  const missing = required
    .filter((name) => !Object.hasOwn(value, name) && !NOT_IN_DOCKER.has(name))
    .map((name) => `${where}: ${name} is missing`);
  const inner = Object.entries(value).flatMap(([name, one]: [string, unknown]) => {
    const field = properties[name];
    const exact = `${owner}.${name}`;
    if (field !== undefined) {
      if (one === null && NULL_IN_DOCKER.has(exact)) return [];
      return check(one, field, { where: `${where} .${name}`, owner: exact });
    }
    if (typeof rest === "object") return check(one, rest, { where: `${where} .${name}`, owner });
    const open = rest === true || Object.keys(properties).length === 0;
    if (open || loose?.has(name) === true || BEYOND_DEFINITION.has(exact)) return [];
    return [`${where}: ${name} is not in the definition`];
  });
  return [...missing, ...inner];
}

function checkArray(value: unknown, schema: Schema, context: Context): string[] {
  if (!Array.isArray(value)) return [`${context.where}: ${typeof value} is no array`];
  const { minItems = 0, maxItems = Infinity, items } = schema;
  const size =
    value.length < minItems || value.length > maxItems
      ? [`${context.where}: ${value.length} items`]
      : [];
  const inner = value.flatMap((one: unknown, index) =>
    items === undefined
      ? []
      : check(one, items, { ...context, where: `${context.where}[${index}]` }),
  );
  return [...size, ...inner];
}

function checkScalar(value: unknown, schema: Schema, { where }: Context): string[] {
  const { type, minimum = -Infinity, maximum = Infinity } = schema;
  const shown = JSON.stringify(value);
  const typed =
    type === "integer"
      ? Number.isInteger(value)
      : type === "number"
        ? typeof value === "number"
        : typeof value === type;
  if (!typed) return [`${where}: ${shown} is no ${type ?? ""}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) {
    return [`${where}: ${shown} is none of ${schema.enum.join(", ")}`];
  }
  if (typeof value === "number" && (value < minimum || value > maximum)) {
    return [`${where}: ${shown} is out of range`];
  }
  return hasFormat(value, schema.format) ? [] : [`${where}: ${shown} is no ${schema.format ?? ""}`];
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;
const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)$/;

function hasFormat(value: unknown, format = ""): boolean {
  switch (format) {
    case "date-time":
    case "dateTime":
      return typeof value === "string" && INSTANT.test(value);
    case "ip-address":
      return typeof value === "string" && ADDRESS.test(value);
    case "uint16":
      return typeof value === "number" && value >= 0 && value <= 65_535;
    case "uint64":
    case "uint32":
      return typeof value === "number" && value >= 0;
    default:
      return true; // int64, float, binary, uri: their type says it already, or nothing more can be asked.
  }
}
