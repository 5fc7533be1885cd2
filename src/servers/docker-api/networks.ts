/** Networks: made, listed, inspected, removed. */
import { invalid } from "#base";
import type { ContainerService } from "#engine/container";
import type { Network, NetworkService } from "#engine/network";
import { atLeast, type NetworkConnectRequest, type NetworkDisconnectRequest } from "#wire/docker";
import { type Filters, requireFilters } from "#wire/http";

import type { Call } from "./call.ts";
import { networkConnectShape, networkDisconnectShape } from "./decode/network-shapes.ts";
import { decodeEndpoint, decodeNetworkCreate } from "./decode/networking.ts";
import { decodeShape } from "./decode/shape.ts";
import type { HostDefaults } from "./encode/host-config.ts";
import { bareEndpointId } from "./encode/network.ts";
import { encodeAttached, encodeBare, encodeNetwork } from "./encode/network-inspect.ts";
import { parseMoment } from "./instants.ts";
import type { Routes } from "./routes.ts";

export type Networks = Pick<
  NetworkService,
  "list" | "resolve" | "endpointsIn" | "create" | "remove" | "prune"
>;

interface Services {
  readonly networks: Networks;
  readonly containers: Pick<ContainerService, "resolve" | "connect" | "disconnect" | "list">;
  readonly defaults: HostDefaults;
}

const NETWORK_FILTERS: ReadonlySet<string> = new Set([
  "dangling",
  "driver",
  "id",
  "label",
  "name",
  "scope",
  "type",
]);
const PRUNE_FILTERS: ReadonlySet<string> = new Set(["label", "label!", "until"]);

export function networkRoutes({ networks, containers, defaults }: Services): Routes {
  const inUse = (network: Network): boolean => networks.endpointsIn(network.id).length > 0;
  return {
    "GET /networks": (call) => {
      const filters = requireFilters(call.query.filters(), NETWORK_FILTERS);
      checkFilters(filters);
      const listed = networks.list().filter((network) => passes(network, filters, inUse));
      call.json(
        200,
        listed.map((network) => encodeNetwork(network)),
      );
    },
    "GET /networks/**:id": (call) => inspect(call, { networks, containers }),
    "POST /networks/create": async (call) => {
      const asked = decodeNetworkCreate(await call.requireBody(), {
        defaults: defaults.networkOptions,
        saysIpv4: atLeast(call.version, "1.48"),
      });
      const { id } = await networks.create(asked);
      call.json(201, { Id: id, Warning: "" });
    },
    "DELETE /networks/**:id": async (call) => {
      const nameOf = (id: string): string => nameOrNull(id, containers) ?? id;
      await networks.remove(call.param("id"), nameOf);
      call.empty(204);
    },
    "POST /networks/**:id/connect": async (call) => {
      const asked = decodeShape<NetworkConnectRequest>(
        await call.requireBody(),
        networkConnectShape,
      );
      // Before the container: docker says so.
      const { name } = networks.resolve(call.param("id"));
      const endpoint = decodeEndpoint(name, asked.EndpointConfig ?? {});
      await containers.connect(asked.Container ?? "", endpoint);
      call.empty(200);
    },
    "POST /networks/**:id/disconnect": async (call) => {
      const asked = decodeShape<NetworkDisconnectRequest>(
        await call.requireBody(),
        networkDisconnectShape,
      );
      const network = call.param("id");
      await containers.disconnect(asked.Container ?? "", { network, force: asked.Force ?? false });
      call.empty(200);
    },
    "POST /networks/prune": async (call) => {
      const filters = requireFilters(call.query.filters(), PRUNE_FILTERS);
      const [moment, ...others] = filters["until"] ?? [];
      if (others.length > 0) throw invalid("more than one until filter specified");
      const until = moment === undefined ? null : parseMoment(moment, new Date());
      const labels = { label: filters["label"] ?? [], "label!": filters["label!"] ?? [] };
      const removed = await networks.prune(
        (network) =>
          (until === null || network.createdAt < until) &&
          hasLabels(network, labels.label) &&
          (labels["label!"].length === 0 || !hasLabels(network, labels["label!"])),
      );
      call.json(200, { NetworksDeleted: removed.length === 0 ? null : removed });
    },
  };
}

async function inspect(
  call: Call,
  { networks, containers }: Omit<Services, "defaults">,
): Promise<void> {
  const verbose = call.query.text("verbose");
  if (verbose !== "") flagOf("verbose", verbose);
  const network = networks.resolve(call.param("id"));
  const scope = call.query.text("scope");
  if (scope !== "" && scope !== "local") networks.resolve("");
  const attached = networks.endpointsIn(network.id).flatMap((endpoint) => {
    const { containerId } = endpoint;
    const name = nameOrNull(containerId, containers);
    return name === null ? [] : [[containerId, encodeAttached(endpoint, name)] as const];
  });
  const bare = hasLinks(network) ? [] : await bareIn(network, containers);
  call.json(200, encodeNetwork(network, Object.fromEntries([...attached, ...bare])));
}

const hasLinks = ({ driver }: Network): boolean => driver !== "host" && driver !== "null";

/** The containers that run in a network which makes nothing for them. */
async function bareIn(network: Network, containers: Services["containers"]) {
  const filters = { network: [network.name] };
  const listed = await containers.list({ all: false, limit: 0, size: false, filters });
  return listed.flatMap(({ container }) => {
    const endpointId = bareEndpointId(container, network.id);
    return endpointId === ""
      ? []
      : [[container.id, encodeBare(container.name, endpointId)] as const];
  });
}

/** null for a container that is being removed. */
function nameOrNull(containerId: string, containers: Services["containers"]): string | null {
  try {
    return containers.resolve(containerId).name;
  } catch {
    return null;
  }
}

/** @throws EngineError "invalid" for values that no network could have */
function checkFilters(filters: Filters): void {
  for (const value of filters["type"] ?? []) {
    if (value === "builtin" || value === "custom") continue;
    throw invalid(`invalid filter: 'type'='${value}'`);
  }
  const dangling = filters["dangling"] ?? [];
  if (dangling.length > 1) throw invalid('got more than one value for filter key "dangling"');
  for (const value of dangling) {
    if (["true", "1", "false", "0"].includes(value)) continue;
    throw invalid(
      `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`,
    );
  }
}

function passes(network: Network, filters: Filters, inUse: (network: Network) => boolean): boolean {
  const any = (name: string, holds: (value: string) => boolean): boolean =>
    filters[name] === undefined || filters[name].length === 0 || filters[name].some(holds);
  const isBuiltin = network.custom === null;
  return (
    any("name", (value) => network.name.includes(value)) &&
    any("id", (value) => network.id.startsWith(value)) &&
    any("driver", (value) => network.driver === value) &&
    any("scope", (value) => value === "local") &&
    any("type", (value) => (value === "builtin") === isBuiltin) &&
    any("dangling", (value) => (!isBuiltin && !inUse(network)) === ["true", "1"].includes(value)) &&
    hasLabels(network, filters["label"] ?? [])
  );
}

/** `key` or `key=value`: all of them. */
function hasLabels({ custom }: Network, wanted: readonly string[]): boolean {
  const labels = custom?.labels ?? {};
  return wanted.every((label) => {
    const at = label.indexOf("=");
    if (at < 0) return Object.hasOwn(labels, label);
    return labels[label.slice(0, at)] === label.slice(at + 1);
  });
}

/** @throws EngineError "invalid" */
function flagOf(name: string, text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw invalid(
    `invalid value for ${name}: ${text}: strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`,
  );
}
