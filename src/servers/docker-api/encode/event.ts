/** Events as Docker's lines, and whether a filter lets them through. */
import type { EngineEvent } from "#engine/events";
import type { Filters } from "#wire/http";

const NANO = 1_000_000_000n;

/**
 * One line. The nanoseconds are written as text: no double holds them.
 * Clients older than API 1.22 read `status`, `id` and `from`, and Docker still sends them.
 */
export function encodeEvent(event: EngineEvent): string {
  let line = lines.get(event);
  if (line === undefined) lines.set(event, (line = lineOf(event)));
  return line;
}

/** Every watcher of one event is told the same. */
const lines = new WeakMap<EngineEvent, string>();

function lineOf(event: EngineEvent): string {
  const { type, action, actorId, attributes, timeNano } = event;
  const old =
    type === "container"
      ? { status: action, id: actorId, from: attributes["image"] ?? "" }
      : type === "image"
        ? { status: action, id: actorId }
        : {};
  const head = JSON.stringify({
    ...old,
    Type: type,
    Action: action,
    Actor: { ID: actorId, Attributes: attributes },
    scope: "local",
    time: Number(timeNano / NANO),
  });
  return `${head.slice(0, -1)},"timeNano":${timeNano}}\n`;
}

/** Filters of `GET /events`. */
export const EVENT_FILTERS: ReadonlySet<string> = new Set([
  "config",
  "container",
  "daemon",
  "event",
  "image",
  "label",
  "network",
  "node",
  "plugin",
  "scope",
  "secret",
  "service",
  "type",
  "volume",
]);

/** True when an event passes every filter; several values of one filter are alternatives, labels all must match. */
export function passes(event: EngineEvent, filters: Filters): boolean {
  return Object.entries(filters).every(
    ([name, values]) => values.length === 0 || passesOne(event, name, values),
  );
}

function passesOne(event: EngineEvent, name: string, values: readonly string[]): boolean {
  const { type, action, attributes } = event;
  switch (name) {
    case "event":
      // `exec_create` means every `exec_create: …`.
      return values.some((value) => action === value || action.startsWith(`${value}:`));
    case "type":
      return values.includes(type);
    case "scope":
      return values.includes("local");
    case "label":
      return values.every((value) => hasLabel(attributes, value));
    case "image":
      return matchesImage(event, values);
    case "daemon":
      return type === "daemon" && matchesActor(event, values);
    default:
      return type === name && matchesActor(event, values);
  }
}

const hasLabel = (attributes: EngineEvent["attributes"], label: string): boolean => {
  const at = label.indexOf("=");
  if (at < 0) return Object.hasOwn(attributes, label);
  return attributes[label.slice(0, at)] === label.slice(at + 1);
};

/** As Docker: by the beginning of an id or of a name. */
const matchesActor = ({ actorId, attributes }: EngineEvent, values: readonly string[]): boolean =>
  values.some((value) =>
    value === ""
      ? actorId === "" || attributes["name"] === ""
      : actorId.startsWith(value) || attributes["name"]?.startsWith(value) === true,
  );

/** Events of an image, and of containers made from it; a name without a tag means every tag. */
function matchesImage(
  { type, actorId, attributes }: EngineEvent,
  values: readonly string[],
): boolean {
  const names = type === "image" ? [actorId, attributes["name"]] : [attributes["image"]];
  const known = names.filter((name) => name !== undefined);
  return values.some((value) => known.some((name) => name === value || withoutTag(name) === value));
}

function withoutTag(name: string): string {
  const colon = name.lastIndexOf(":");
  return colon > name.lastIndexOf("/") && !name.includes("@") ? name.slice(0, colon) : name;
}
