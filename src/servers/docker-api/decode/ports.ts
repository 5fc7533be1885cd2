/** Ports of a create request: `80/tcp`, and where on the host each is published. */
import { isIP } from "node:net";

import { invalid } from "#base";
import type { PortRequest } from "#engine/network";
import type { PortMap } from "#wire/docker";

const PROTOCOLS: ReadonlySet<string> = new Set<PortRequest["protocol"]>(["tcp", "udp", "sctp"]);
const isProtocol = (text: string): text is PortRequest["protocol"] => PROTOCOLS.has(text);

/** `80`, `80/tcp`. @throws EngineError "invalid": `invalid port specification: "…"` */
export function parsePort(text: string): Pick<PortRequest, "containerPort" | "protocol"> {
  const [port = "", protocol = "tcp", ...rest] = text.split("/");
  const containerPort = portNumber(port);
  if (containerPort === null || containerPort === 0 || !isProtocol(protocol) || rest.length > 0) {
    throw invalid(
      `invalid port specification: ${JSON.stringify(isProtocol(protocol) ? port : text)}`,
    );
  }
  return { containerPort, protocol };
}

/** Normalized: `80` is `80/tcp`. */
export const decodeExposedPorts = (ports: Readonly<Record<string, object>>): string[] =>
  Object.keys(ports).map((text) => {
    const { containerPort, protocol } = parsePort(text);
    return `${containerPort}/${protocol}`;
  });

/** @throws EngineError "invalid" */
export const decodePortBindings = (map: PortMap): PortRequest[] =>
  Object.entries(map).flatMap(([text, bindings]) => {
    const port = parsePort(text);
    const asked = bindings === null || bindings.length === 0 ? [{}] : bindings;
    return asked.map((binding) => {
      const { HostIp: hostAddress = "", HostPort: hostPort = "" } = binding as Partial<typeof NONE>;
      if (hostAddress !== "" && isIP(hostAddress) === 0) {
        throw invalid(`invalid IP address: ${hostAddress}`);
      }
      return { ...port, hostAddress, ...hostPorts(hostPort) };
    });
  });

const NONE = { HostIp: "", HostPort: "" };

/** "" is "choose one", `8000-8010` is "choose one of these". */
function hostPorts(text: string): Pick<PortRequest, "hostPort" | "hostPortEnd"> {
  if (text === "") return { hostPort: 0 };
  const [first = "", last, ...rest] = text.split("-");
  const hostPort = portNumber(first);
  const hostPortEnd = last === undefined ? null : portNumber(last);
  const broken =
    hostPort === null ||
    rest.length > 0 ||
    (last !== undefined && (hostPortEnd === null || hostPortEnd < hostPort));
  if (broken) throw invalid(`invalid port specification: "${text}"`);
  return hostPortEnd === null || hostPortEnd === hostPort
    ? { hostPort }
    : { hostPort, hostPortEnd };
}

function portNumber(text: string): number | null {
  if (!/^\d{1,5}$/.test(text)) return null;
  const port = Number(text);
  return port <= 65_535 ? port : null;
}
