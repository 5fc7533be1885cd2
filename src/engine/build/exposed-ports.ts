/** EXPOSE: `[address:[host port:]]port[-port][/protocol]`. Sentences are BuildKit's. Pure. */
import { isIP } from "node:net";

import { invalid } from "#base";

const PORT_LIMIT = 65535;
/** All that there are, of every protocol. */
const PORTS_LIMIT = 3 * 65536;

/**
 * Every port as `80/tcp`, in the order of the words. Addresses and ports of the host are looked at and dropped.
 * @param expand gives a word's variables their values. @throws EngineError "invalid"
 */
export function exposedPorts(
  words: readonly string[],
  expand: (word: string) => readonly string[],
): string[] {
  const ports: string[] = [];
  for (const word of words.toSorted().flatMap(expand)) {
    ports.push(...portsOf(word));
    if (ports.length > PORTS_LIMIT) throw invalid(`more than ${PORTS_LIMIT} ports`);
  }
  return ports;
}

function portsOf(text: string): string[] {
  const parts = text.split(":");
  const written = parts.at(-1) ?? "";
  const host = parts.length > 1 ? (parts.at(-2) ?? "") : "";
  const address = parts.slice(0, -2).join(":");
  const [port, protocol = ""] = splitOnce(written, "/");
  const bad = (why: string) => invalid(`invalid port: ${JSON.stringify(text)}: ${why}`);
  if (port === "") throw bad("no port specified");
  const kind = protocol === "" ? "tcp" : protocol.toLowerCase();
  if (!["tcp", "udp", "sctp"].includes(kind)) throw bad(`invalid proto: ${protocol}`);
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  if (bare !== "" && isIP(bare) === 0) throw invalid(`invalid IP address: ${bare}`);
  const range = rangeOf(port);
  if (range === null) throw invalid(`invalid containerPort: ${port}`);
  if (host !== "") checkHost(host, { port, range });
  const { first, last } = range;
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${kind}`);
}

interface Range {
  readonly first: number;
  readonly last: number;
}

function checkHost(host: string, { port, range }: { port: string; range: Range }): void {
  const asked = rangeOf(host);
  if (asked === null) throw invalid(`invalid hostPort: ${host}`);
  const { first, last } = range;
  if (asked.last - asked.first === last - first || first === last) return;
  throw invalid(`invalid ranges specified for container and host Ports: ${port} and ${host}`);
}

function rangeOf(text: string): Range | null {
  const [from, to] = splitOnce(text, "-");
  const first = numberOf(from);
  const last = to === undefined ? first : numberOf(to);
  return first === null || last === null || last < first ? null : { first, last };
}

function numberOf(text: string): number | null {
  const value = /^\+?\d{1,9}$/.test(text) ? Number(text) : -1;
  return value >= 0 && value <= PORT_LIMIT ? value : null;
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
