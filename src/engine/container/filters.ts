/** `docker ps --filter`: which containers a list shows. Pure. */
import { invalid, kindOf } from "#base";
import type { PortBinding } from "#engine/network";
import type { Digest } from "#oci";

import type { ListRequest } from "./container-service.ts";
import type { ContainerRecord } from "./records.ts";
import { isActive } from "./wait.ts";

const KNOWN = new Set(
  "ancestor before exited expose health id is-task isolation label name network publish since status volume".split(
    " ",
  ),
);
const STATUSES = new Set("created running paused restarting removing exited dead".split(" "));
const HEALTH = new Set(["none", "starting", "healthy", "unhealthy"]);

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

const badFilter = (name: string, value?: string): Error =>
  invalid(value === undefined ? `invalid filter '${name}'` : `invalid filter '${name}=${value}'`);

/**
 * The containers a request asks for, newest first.
 * @throws EngineError "invalid" for filters that are none, "notFound" for a container that `before` or `since` names
 */
export function selectContainers(
  records: Iterable<ContainerRecord>,
  request: ListRequest,
  sources: FilterSources,
): ContainerRecord[] {
  const matchers = matchersOf(request.filters, sources);
  const { status, before, since, exited } = request.filters;
  const named = [status, before, since, exited].some((values) => (values?.length ?? 0) > 0);
  const everyone = request.all || request.limit > 0 || named;
  const newestFirst = [...records].reverse();
  const selected = newestFirst.filter(
    (record) => (everyone || isActive(record)) && matchers.every((matches) => matches(record)),
  );
  return request.limit > 0 ? selected.slice(0, request.limit) : selected;
}

function matchersOf(filters: ListRequest["filters"], sources: FilterSources): Matcher[] {
  return Object.entries(filters).flatMap(([name, values]): Matcher[] => {
    if (!KNOWN.has(name)) throw badFilter(name);
    if (values.length === 0) return [];
    return [matcherOf(name, values, sources)];
  });
}

function matcherOf(name: string, values: readonly string[], sources: FilterSources): Matcher {
  switch (name) {
    case "id":
      return ({ id }) => values.some((value) => id.startsWith(value) || matchesText(value, id));
    case "name":
      return (record) => values.some((value) => matchesName(value, record.name));
    case "label":
      return ({ config }) => values.every((value) => matchesLabel(value, config.labels));
    case "status":
      for (const value of values) if (!STATUSES.has(value)) throw badFilter(name, value);
      return ({ state }) => values.includes(state.status);
    case "exited":
      return exitedMatcher(values);
    case "health":
      for (const value of values) if (!HEALTH.has(value)) throw badFilter(name, value);
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
      return (record) => sources.networksOf(record).some((each) => values.includes(each));
    case "publish":
      return portMatcher(name, values, ({ ports }) => ports.map(publishedPort));
    case "expose":
      return portMatcher(name, values, ({ config }) => config.exposedPorts.map(exposedPort));
    default:
      // `isolation` means something on Windows only: every container here has the default one.
      return () => values.every((value) => value === "default" || value === "");
  }
}

function exitedMatcher(values: readonly string[]): Matcher {
  const codes = values.map((value) => {
    if (!/^-?\d{1,9}$/.test(value)) throw badFilter("exited", value);
    return Number(value);
  });
  return ({ state }) => state.status === "exited" && codes.includes(state.exitCode);
}

function isTaskMatcher(values: readonly string[]): Matcher {
  const wanted = values.map((value) => {
    if (/^(1|true)$/i.test(value)) return true;
    if (/^(0|false)$/i.test(value)) return false;
    throw badFilter("is-task", value);
  });
  if (new Set(wanted).size > 1) throw badFilter("is-task", values.join(" "));
  return () => wanted[0] === false;
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

interface PortText {
  readonly port: number;
  readonly protocol: string;
}

const publishedPort = ({ hostPort, protocol }: PortBinding): PortText => ({
  port: hostPort,
  protocol,
});

function exposedPort(text: string): PortText {
  const [port = "", protocol = "tcp"] = text.split("/");
  return { port: Number(port), protocol };
}

/** `80`, `80/udp` or `8000-8010/tcp`. */
function portMatcher(
  name: string,
  values: readonly string[],
  portsOf: (record: ContainerRecord) => PortText[],
): Matcher {
  const ranges = values.map((value) => {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(value);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match === null || last < first || last > 65535) throw badFilter(name, value);
    return { first, last, protocol: match[3] ?? "tcp" };
  });
  return (record) =>
    portsOf(record).some(({ port, protocol }) =>
      ranges.some(
        (range) => range.protocol === protocol && port >= range.first && port <= range.last,
      ),
    );
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
