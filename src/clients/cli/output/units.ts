/** Durations, instants and sizes in the words of docker/go-units. */

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** `About a minute`, `3 weeks`, `2 years`. */
export function humanDuration(durationMs: number): string {
  const seconds = Math.trunc(durationMs / SECOND_MS);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(durationMs / MINUTE_MS);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(durationMs / HOUR_MS + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(durationMs / HOUR_MS / 24 / 365)} years`;
}

/** `3 weeks ago`; "N/A" for an instant Docker writes as never. */
export const timeAgo = (seconds: number, nowMs: number): string =>
  `${humanDuration(nowMs - seconds * SECOND_MS)} ago`;

const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Memory: powers of 1024, four significant digits (`7.652GiB`). */
export function binarySize(sizeBytes: number): string {
  let size = sizeBytes;
  let unit = 0;
  while (size >= 1024 && unit < BINARY_UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${Number(size.toPrecision(4))}${BINARY_UNITS[unit]}`;
}

const two = (value: number): string => String(value).padStart(2, "0");

/** An instant as Go's time.String prints it in the local zone: `2025-05-30 12:07:14 +0000 UTC`. */
export function localTime(seconds: number): string {
  const date = new Date(seconds * SECOND_MS);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time} ${zoneOffset(date)} ${zoneName(date)}`;
}

/** The same of an instant in RFC 3339, with its fraction: `2025-05-30 12:07:14.5 +0000 UTC`. */
export function localTimeOf(instant: string): string {
  const seconds = Math.floor(Date.parse(instant) / SECOND_MS);
  if (Number.isNaN(seconds)) return instant;
  const fraction = (/\.(\d+)/.exec(instant)?.[1] ?? "").replace(/0+$/, "");
  const [day = "", time = "", ...zone] = localTime(seconds).split(" ");
  return [day, fraction === "" ? time : `${time}.${fraction}`, ...zone].join(" ");
}

/** An instant as RFC 3339 in the local zone: `2025-05-30T12:07:14Z`. */
export function localRfc3339(seconds: number): string {
  const date = new Date(seconds * SECOND_MS);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const offset = zoneOffset(date);
  const zone = offset === "+0000" ? "Z" : `${offset.slice(0, 3)}:${offset.slice(3)}`;
  return `${day}T${time}${zone}`;
}

function zoneOffset(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const amount = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.trunc(amount / 60))}${two(amount % 60)}`;
}

/** The zone's short name; Go prints the offset where the zone has none. */
function zoneName(date: Date): string {
  const match = /\(([^)]+)\)$/.exec(date.toString())?.[1] ?? "";
  if (/^(Coordinated Universal Time|UTC|GMT)$/.test(match)) return "UTC";
  const part = new Intl.DateTimeFormat("en-US", { timeZoneName: "short" })
    .formatToParts(date)
    .find(({ type }) => type === "timeZoneName")?.value;
  if (part === undefined || /^(?:GMT|UTC)[+-]/.test(part))
    return zoneOffset(date).replace(/00$/, "");
  return part;
}
