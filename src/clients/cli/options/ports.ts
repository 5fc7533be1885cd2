/** `-p` and `--expose` as docker/go-connections reads them. */
import { invalid } from "#base";
import type { PortMap } from "#wire/docker";

import { quote } from "../flags/values.ts";
import { isIp } from "./checks.ts";

export interface PortOptions {
  readonly exposed: Record<string, object>;
  readonly bindings: PortMap;
}

const PROTOCOLS = new Set(["tcp", "udp", "sctp"]);
const PORT_LIMIT = 65535;

/** Ports of every `--publish` and `--expose`. @throws EngineError "invalid" in docker's words */
export function parsePorts(publish: readonly string[], expose: readonly string[]): PortOptions {
  const exposed: Record<string, object> = {};
  const bindings: PortMap = {};
  for (const text of publish) {
    const short = text.includes("=") ? shortForm(text) : text;
    for (const { port, binding } of parsePublish(short)) {
      exposed[port] = {};
      (bindings[port] ??= []).push(binding);
    }
  }
  for (const text of expose) {
    for (const port of parseExpose(text)) exposed[port] = {};
  }
  return { exposed, bindings };
}

/** `published=80,target=8080,protocol=udp` as `80:8080/udp`. */
function shortForm(text: string): string {
  const parts: Record<string, string> = { protocol: "tcp" };
  for (const field of text.split(",")) {
    const equals = field.indexOf("=");
    if (equals < 0) throw invalid(`invalid field ${field}`);
    const [key, value] = [field.slice(0, equals), field.slice(equals + 1)];
    if (!["published", "target", "protocol", "mode"].includes(key)) {
      throw invalid(`invalid field key ${key}`);
    }
    parts[key] = value;
  }
  const { published, target = "", protocol } = parts;
  return published === undefined ? `${target}/${protocol}` : `${published}:${target}/${protocol}`;
}

interface Published {
  readonly port: string;
  readonly binding: { HostIp: string; HostPort: string };
}

function parsePublish(text: string): Published[] {
  const { hostIp, hostPort, containerPort } = splitPublish(text);
  const [portText, protocolText] = splitAtLast(containerPort, "/");
  const protocol = (protocolText || "tcp").toLowerCase();
  if (portText === "") throw invalid(`no port specified: ${text}<empty>`);
  const address = hostIp.replace(/^\[(.*)\]$/, "$1");
  if (address !== "" && !isIp(address)) throw invalid(`invalid IP address: ${hostIp}`);
  const range = parseRange(portText);
  if (range === undefined) throw invalid(`invalid containerPort: ${portText}`);
  const host = hostPort === "" ? undefined : parseRange(hostPort);
  if (hostPort !== "" && host === undefined) throw invalid(`invalid hostPort: ${hostPort}`);
  if (host !== undefined && host.end - host.start !== range.end - range.start) {
    // A range on the host for one port of the container: the engine picks a free one of it.
    if (range.end !== range.start) {
      throw invalid(
        `invalid ranges specified for container and host Ports: ${portText} and ${hostPort}`,
      );
    }
  }
  if (!PROTOCOLS.has(protocol)) throw invalid(`invalid proto: ${protocolText}`);
  return Array.from({ length: range.end - range.start + 1 }, (_, index) => ({
    port: `${range.start + index}/${protocol}`,
    binding: { HostIp: address, HostPort: hostPortAt(host, index, range.start === range.end) },
  }));
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function hostPortAt(host: Range | undefined, index: number, single: boolean): string {
  if (host === undefined) return "";
  if (single && host.start !== host.end) return `${host.start}-${host.end}`;
  return String(host.start + index);
}

function splitPublish(text: string): { hostIp: string; hostPort: string; containerPort: string } {
  const parts = text.split(":");
  const containerPort = parts.pop() ?? "";
  const hostPort = parts.pop() ?? "";
  return { hostIp: parts.join(":"), hostPort, containerPort };
}

function splitAtLast(text: string, separator: string): [string, string] {
  const at = text.lastIndexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function parseRange(text: string): Range | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const start = Number(match[1]);
  const end = Number(match[2] ?? match[1]);
  return start <= end && end <= PORT_LIMIT ? { start, end } : undefined;
}

function parseExpose(text: string): string[] {
  if (text.includes(":")) throw invalid(`invalid port format for --expose: ${text}`);
  const [portText = "", protocol = "tcp"] = text.split("/");
  const range = parseRange(portText);
  if (range === undefined) {
    const match = /^(\d{1,5})-(\d{1,5})$/.exec(portText);
    const reason =
      match !== null && Number(match[1]) > Number(match[2])
        ? `invalid range specified for port: ${portText}`
        : `strconv.ParseUint: parsing ${quote(portText)}: invalid syntax`;
    throw invalid(`invalid range format for --expose: ${text}, error: ${reason}`);
  }
  return Array.from(
    { length: range.end - range.start + 1 },
    (_, index) => `${range.start + index}/${protocol}`,
  );
}
