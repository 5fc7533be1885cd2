/**
 * `--link`, the default bridge's old way to find another container: a name in /etc/hosts and variables in the
 * environment as they stand when the container starts; the file follows (linked-hosts.ts). On a user's network names are the network's own work.
 */
import { conflict, invalid, kindOf, noSuch, sentenceOf } from "#base";

import type { HostConfig } from "./config.ts";
import { type Context, liveOf } from "./context.ts";
import { forgetLinked } from "./linked-hosts.ts";
import type { ContainerRecord, Records } from "./records.ts";

/** Another container, by id so that a rename breaks nothing, and what it is called here. */
export type Link = NonNullable<HostConfig["links"]>[number];

/**
 * `docker rm --link parent/alias`: the parent forgets its link; both containers stay.
 * @throws EngineError "conflict" for a container's own name, "notFound" for no such link
 */
export async function removeLink(context: Context, asked: string): Promise<void> {
  const path = asked.replace(/^\/+/, "");
  const at = path.lastIndexOf("/");
  if (at < 1) {
    context.records.resolve(path);
    throw conflict("Conflict, cannot remove the default link name of the container");
  }
  const [name, alias] = [path.slice(0, at), path.slice(at + 1)];
  const parentId = findParent(context, { name, alias });
  if (parentId === null) throw noSuch("container", path);
  await liveOf(context, parentId).queue.run(async () => {
    const parent = context.records.must(parentId);
    const links = (parent.host.links ?? []).filter((link) => link.alias !== alias);
    context.records.redefine(parentId, { ...parent.host, links });
    forgetLinked(context, parent, alias);
  });
}

function findParent(
  { records }: Pick<Context, "records">,
  { name, alias }: { name: string; alias: string },
): string | null {
  const id = records.ownerOfName(name);
  const links = id === undefined ? [] : (records.get(id)?.host.links ?? []);
  return links.some((link) => link.alias === alias) ? (id ?? null) : null;
}

/** A link whose container runs. */
interface Linked {
  readonly alias: string;
  readonly address: string;
  readonly record: ContainerRecord;
}

/** Names become ids. @throws EngineError "invalid" in Docker's words */
export function resolveLinks(
  links: HostConfig["links"],
  { networkMode }: Pick<HostConfig, "networkMode">,
  records: Pick<Records, "resolve">,
): readonly Link[] {
  if (links === undefined || links.length === 0) return [];
  const because = "can't be used with links. This would result in undefined behavior";
  const refused = (what: string) => invalid(`conflicting options: ${what} ${because}`);
  if (networkMode.mode === "host") throw refused("host type networking");
  if (networkMode.mode === "container") throw refused("container type network");
  if (networkMode.mode === "network" && networkMode.name !== "bridge") return links;
  return links.map(({ container, alias }) => {
    let target = resolveLink(records, container);
    for (let { host } = target; host.networkMode.mode === "container"; { host } = target) {
      target = resolveLink(records, host.networkMode.container);
    }
    if (target.host.networkMode.mode === "host") throw refused("host type networking");
    return { container: target.id, alias };
  });
}

function resolveLink(records: Pick<Records, "resolve">, name: string): ContainerRecord {
  try {
    return records.resolve(name);
  } catch (cause) {
    if (kindOf(cause) === "internal") throw cause;
    throw invalid(`could not get container for ${name}: ${sentenceOf(cause)}`, { cause });
  }
}

/** The links of a container that is about to start. @throws EngineError "conflict" in Docker's words */
export function linkedContainers(context: Context, record: ContainerRecord): Linked[] {
  const { links = [], networkMode } = record.host;
  if (networkMode.mode !== "network" || networkMode.name !== "bridge") return [];
  return links.map(({ container, alias }) => {
    const target = context.records.resolve(container);
    if (target.state.status !== "running" && target.state.status !== "paused") {
      throw conflict(
        `Cannot link to a non running container: /${target.name} AS /${record.name}/${alias}`,
      );
    }
    const endpoint = context.network
      .endpointsOf(target.id)
      .find(({ networkName }) => networkName === "bridge");
    if (endpoint === undefined) {
      throw conflict(
        `Cannot link to /${target.name}, as it does not belong to the default network`,
      );
    }
    return { alias, address: endpoint.link.address, record: target };
  });
}

/** The linked containers' lines of /etc/hosts. Pure. */
export const linkHosts = (linked: readonly Linked[]): string[] =>
  linked.map(({ alias, address, record: { name, config } }) => {
    const names = new Set([alias, config.hostname, name]);
    return `${address}\t${[...names].join(" ")}`;
  });

/** What a linked container's address, ports and own variables are called here. Pure. */
export function linkEnvironment(linked: readonly Linked[], parent: string): string[] {
  return linked.flatMap(({ alias, address, record: { config } }) => {
    const prefix = alias.toUpperCase().replaceAll("-", "_");
    const ports = config.exposedPorts.map(parsePort).toSorted(byProtocol);
    const [first] = ports;
    return [
      ...(first === undefined ? [] : [`${prefix}_PORT=${addressOf(address, first)}`]),
      ...ports.flatMap((port) => {
        const name = portName(prefix, port);
        return [
          `${name}=${addressOf(address, port)}`,
          `${name}_ADDR=${address}`,
          `${name}_PORT=${port.number}`,
          `${name}_PROTO=${port.protocol}`,
        ];
      }),
      ...rangesOf(ports).flatMap(([start, end]) => {
        const name = portName(prefix, start);
        return [
          `${name}_START=${addressOf(address, start)}`,
          `${name}_PORT_START=${start.number}`,
          `${name}_END=${addressOf(address, end)}`,
          `${name}_PORT_END=${end.number}`,
        ];
      }),
      `${prefix}_NAME=/${parent}/${alias}`,
      ...config.environment
        .filter((entry) => entry.includes("=") && !/^(?:HOME|PATH)=/.test(entry))
        .map((entry) => `${prefix}_ENV_${entry}`),
    ];
  });
}

interface Port {
  readonly number: number;
  readonly protocol: string;
}

const parsePort = (text: string): Port => {
  const [number = "", protocol = "tcp"] = text.split("/");
  return { number: Number(number), protocol };
};

const addressOf = (address: string, { number, protocol }: Port): string =>
  `${protocol}://${address}:${number}`;

const portName = (prefix: string, { number, protocol }: Port): string =>
  `${prefix}_PORT_${number}_${protocol.toUpperCase()}`;

/** TCP first, then by name; in each by number. */
function byProtocol(a: Port, b: Port): number {
  if (a.protocol === b.protocol) return a.number - b.number;
  if (a.protocol === "tcp") return -1;
  return b.protocol === "tcp" ? 1 : a.protocol < b.protocol ? -1 : 1;
}

/** Runs of neighbouring ports, two or more. */
function rangesOf(ports: readonly Port[]): [Port, Port][] {
  const ranges: [Port, Port][] = [];
  for (const port of ports) {
    const last = ranges.at(-1);
    const continues =
      last !== undefined &&
      last[1].protocol === port.protocol &&
      last[1].number + 1 === port.number;
    if (continues) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges.filter(([start, end]) => start !== end);
}
