/** `docker ps --filter`: which containers a list shows. Pure. */
import { invalid, isId, kindOf } from "#base";
import type { Digest } from "#oci";

import type { ListRequest } from "./container-service.ts";
import type { ContainerRecord } from "./records.ts";
import { isActive } from "./wait.ts";

const KNOWN = new Set(
  "ancestor before exited expose health id is-task isolation label name network publish since status volume".split(
    " ",
  ),
);
const STATUSES = "created running paused restarting removing exited dead".split(" ");
const HEALTH = ["none", "starting", "healthy", "unhealthy"];

type Matcher = (record: ContainerRecord) => boolean;

export interface FilterSources {
  /** @throws EngineError "notFound" */
  readonly resolve: (nameOrId: string) => ContainerRecord;
  /** Its platforms that are here, and what was made on them. @throws EngineError "notFound" or "invalid" */
  readonly familyOfImage: (nameOrId: string) => ReadonlySet<Digest>;
  /** "none" for one that was never probed. */
  readonly healthOf: (record: ContainerRecord) => string;
  /** Ids and names of the networks a container is in. */
  readonly networksOf: (record: ContainerRecord) => readonly string[];
}

const badValue = (name: string, value: string, why: string): Error =>
  invalid(`invalid filter '${name}=${value}': ${why}`);

/**
 * The containers a request asks for, newest first.
 * @throws EngineError "invalid" for filters that are none, "notFound" for a container that `before` or `since` names
 */
export function selectContainers(
  records: Iterable<ContainerRecord>,
  request: ListRequest,
  sources: FilterSources,
): ContainerRecord[] {
  const newestFirst = [...records].reverse();
  const matchers = matchersOf(request.filters, { ...sources, records: newestFirst });
  // Of the filters, only this one looks beyond what runs.
  const everyone = request.all || request.limit > 0 || (request.filters["status"]?.length ?? 0) > 0;
  const selected = newestFirst.filter(
    (record) => (everyone || isActive(record)) && matchers.every((matches) => matches(record)),
  );
  return request.limit > 0 ? selected.slice(0, request.limit) : selected;
}

interface Sources extends FilterSources {
  readonly records: readonly ContainerRecord[];
}

function matchersOf(filters: ListRequest["filters"], sources: Sources): Matcher[] {
  for (const name of Object.keys(filters)) {
    if (!KNOWN.has(name)) throw invalid(`invalid filter '${name}'`);
  }
  const { publish = [], expose = [], ...others } = filters;
  return [
    ...Object.entries(others).flatMap(([name, values]): Matcher[] =>
      values.length === 0 ? [] : [matcherOf(name, values, sources)],
    ),
    ...(publish.length + expose.length === 0 ? [] : [portMatcher(publish, expose)]),
  ];
}

function matcherOf(name: string, values: readonly string[], sources: Sources): Matcher {
  switch (name) {
    case "id":
      return idMatcher(values, sources.records);
    case "name":
      return (record) => values.some((value) => matchesName(value, record.name));
    case "label":
      return ({ config }) => values.every((value) => matchesLabel(value, config.labels));
    case "status":
      checkWords(name, values, { what: "state", known: STATUSES });
      return ({ state }) => values.includes(state.status);
    case "exited":
      return exitedMatcher(values);
    case "health":
      checkWords(name, values, { what: "health", known: HEALTH });
      return (record) => values.includes(sources.healthOf(record));
    case "is-task":
      return isTaskMatcher(values);
    default:
      return relationMatcher(name, values, sources);
  }
}

function relationMatcher(name: string, values: readonly string[], sources: FilterSources): Matcher {
  switch (name) {
    case "ancestor":
      return ancestorMatcher(values, sources);
    case "before":
      return orderMatcher(values, sources, (record, other) => record.createdAt < other.createdAt);
    case "since":
      return orderMatcher(values, sources, (record, other) => record.createdAt > other.createdAt);
    case "volume":
      return ({ mounts }) =>
        values.some((value) =>
          mounts.some(
            (mount) =>
              mount.target === value ||
              (mount.type === "volume" && mount.name === value) ||
              (mount.type === "bind" && mount.source === value),
          ),
        );
    case "network":
      return (record) =>
        sources
          .networksOf(record)
          .some((each) => values.some((value) => each === value || isIdPrefix(value, each)));
    default:
      // `isolation` means something on Windows only.
      return () => true;
  }
}

const isIdPrefix = (value: string, id: string): boolean => isId(id) && id.startsWith(value);

function checkWords(
  name: string,
  values: readonly string[],
  { what, known }: { what: string; known: readonly string[] },
): void {
  const unknown = values.find((value) => !known.includes(value));
  if (unknown === undefined) return;
  const must = `must be one of ${known.join(", ")}`;
  throw badValue(name, unknown, `invalid value for ${what} (${unknown}): ${must}`);
}

/** A part of an id that begins more than one, or is empty, is nobody's. */
function idMatcher(values: readonly string[], records: readonly ContainerRecord[]): Matcher {
  const ids = new Set(
    values.flatMap((value) => {
      const found = records.filter(({ id }) => value !== "" && id.startsWith(value));
      return found.length === 1 ? found.map(({ id }) => id) : [];
    }),
  );
  return ({ id }) => ids.has(id);
}

function exitedMatcher(values: readonly string[]): Matcher {
  const codes = values.map((value) => {
    if (/^[+-]?\d{1,18}$/.test(value)) return Number(value);
    const why = /^[+-]?\d+$/.test(value) ? "value out of range" : "invalid syntax";
    throw badValue("exited", value, `strconv.Atoi: parsing ${JSON.stringify(value)}: ${why}`);
  });
  return ({ state }) => state.status === "exited" && codes.includes(state.exitCode);
}

function isTaskMatcher(values: readonly string[]): Matcher {
  const isTrue = values.includes("1") || values.includes("true");
  const isFalse = values.includes("0") || values.includes("false");
  if (isTrue === isFalse) throw invalid(`invalid filter 'is-task=[${values.join(" ")}]'`);
  return () => isFalse;
}

/** A name that is no image matches nobody, and is no error. */
function ancestorMatcher(values: readonly string[], { familyOfImage }: FilterSources): Matcher {
  const families = values.flatMap((value): Digest[] => {
    try {
      return [...familyOfImage(value)];
    } catch (cause) {
      if (kindOf(cause) === "notFound" || kindOf(cause) === "invalid") return [];
      throw cause;
    }
  });
  const ids = new Set(families);
  return ({ imageId }) => ids.has(imageId);
}

function orderMatcher(
  values: readonly string[],
  { resolve }: FilterSources,
  matches: (record: ContainerRecord, other: ContainerRecord) => boolean,
): Matcher {
  const others = values.map(resolve);
  return (record) => others.every((other) => matches(record, other));
}

/** What is published at one of the first, or reaches one of the second inside: of what runs. */
function portMatcher(publish: readonly string[], expose: readonly string[]): Matcher {
  const published = publish.map((value) => portRange("publish", value));
  const exposed = expose.map((value) => portRange("expose", value));
  return (record) => {
    if (record.state.status !== "running" && record.state.status !== "paused") return false;
    const { ports, config } = record;
    const inside = [
      ...ports.map(({ containerPort: port, protocol }) => ({ port, protocol })),
      ...config.exposedPorts.map(exposedPort),
    ];
    return (
      ports.some(({ hostPort: port, protocol }) => isIn(published, { port, protocol })) ||
      inside.some((port) => isIn(exposed, port))
    );
  };
}

interface Port {
  readonly port: number;
  readonly protocol: string;
}

interface PortRange {
  readonly first: number;
  readonly last: number;
  readonly protocol: string;
}

const isIn = (ranges: readonly PortRange[], { port, protocol }: Port): boolean =>
  ranges.some((range) => range.protocol === protocol && port >= range.first && port <= range.last);

function exposedPort(text: string): Port {
  const [port = "", protocol = "tcp"] = text.split("/");
  return { port: Number(port), protocol };
}

/** `80`, `80/udp` or `8000-8010/tcp`. @throws EngineError "invalid" in Docker's words */
function portRange(name: string, value: string): PortRange {
  if (value.includes(":")) {
    throw invalid(`filter for '${name}' should not contain ':': ${value}`);
  }
  const [ports = "", protocol] = value.split("/", 2);
  const [from = "", to = from] = ports.includes("-") ? ports.split("-", 2) : [ports];
  const [first, last] = [portOf(from), portOf(to)];
  if (typeof first === "number" && typeof last === "number" && first <= last) {
    return { first, last, protocol: protocol || "tcp" };
  }
  const why = [first, last].find((each) => typeof each === "string");
  const range = `invalid range specified for port: ${ports}`;
  const empty = "empty string specified for ports";
  throw invalid(
    `error while looking up for ${name} ${value}: ${ports === "" ? empty : (why ?? range)}`,
  );
}

/** The number, or what Go says of a text that is none. */
function portOf(text: string): number | string {
  if (!/^\d+$/.test(text)) {
    return `strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`;
  }
  const number = Number(text);
  if (number <= 65_535) return number;
  return `strconv.ParseUint: parsing ${JSON.stringify(text)}: value out of range`;
}

/** Docker matches a regular expression anywhere in the name, with or without its slash. */
function matchesName(value: string, name: string): boolean {
  return matchesText(value, name) || matchesText(value, `/${name}`);
}

function matchesText(value: string, text: string): boolean {
  if (text.includes(value)) return true;
  // A pattern can cost more than linear time here, unlike in Go: only short and simple ones are tried.
  if (value.length > 256 || !SIMPLE_PATTERN.test(value)) return false;
  try {
    return new RegExp(value).test(text);
  } catch {
    return false;
  }
}

/** Anchors, classes, alternatives, and repetition of single characters: no nested repetition. */
const SIMPLE_PATTERN =
  /^(?:[a-zA-Z0-9_./^$|-]|\\[\w.\\/-]|\[[^[\]]*\]|[*+?](?![*+?])|\((?:[a-zA-Z0-9_.-]|\|)*\)(?![*+?{]))*$/;

/** `key` or `key=value`. */
export function matchesLabel(value: string, labels: Readonly<Record<string, string>>): boolean {
  const at = value.indexOf("=");
  const key = at < 0 ? value : value.slice(0, at);
  if (!Object.hasOwn(labels, key)) return false;
  return at < 0 || labels[key] === value.slice(at + 1);
}
