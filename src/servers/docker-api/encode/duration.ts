/** Spans of time as Docker says them to people. Source of the rules: docker/go-units, HumanDuration. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;

/** `Less than a second`, `About a minute`, `5 hours`. */
export function humanDuration(milliseconds: number): string {
  const exact = Math.max(0, milliseconds) / 1000;
  const seconds = Math.trunc(exact);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < MINUTE) return `${seconds} seconds`;
  const minutes = Math.trunc(exact / MINUTE);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(exact / HOUR + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(exact / HOUR / 24 / 365)} years`;
}
