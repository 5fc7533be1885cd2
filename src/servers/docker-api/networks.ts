/** Networks that exist: the predefined ones, until there are others. */
import { forbidden, invalid } from "#base";
import type { ContainerService } from "#engine/container";
import type { Endpoint, Network, NetworkService } from "#engine/network";
import { type Filters, requireFilters } from "#wire/http";

import type { Call } from "./call.ts";
import { encodeNetwork } from "./encode/network.ts";
import type { Routes } from "./routes.ts";

interface Services {
  readonly networks: Pick<NetworkService, "list" | "resolve" | "endpointsIn">;
  readonly containers: Pick<ContainerService, "resolve">;
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

export function networkRoutes({ networks, containers }: Services): Routes {
  return {
    "GET /networks": (call) => {
      const filters = requireFilters(call.query.filters(), NETWORK_FILTERS);
      const listed = networks.list().filter((network) => passes(network, filters));
      call.json(
        200,
        listed.map((network) => encodeNetwork(network, [])),
      );
    },
    "GET /networks/:id": (call) => inspect(call, { networks, containers }),
    "DELETE /networks/:id": (call) => {
      const { name } = networks.resolve(call.param("id"));
      throw forbidden(`${name} is a pre-defined network and cannot be removed`);
    },
  };
}

function inspect(call: Call, { networks, containers }: Services): void {
  const network = networks.resolve(call.param("id"));
  const named = networks.endpointsIn(network.id).flatMap((endpoint) => {
    const name = nameOf(endpoint, containers);
    return name === null ? [] : [{ endpoint, name }];
  });
  call.json(200, encodeNetwork(network, named));
}

/** null for a container that is being removed. */
function nameOf(endpoint: Endpoint, containers: Services["containers"]): string | null {
  try {
    return containers.resolve(endpoint.containerId).name;
  } catch {
    return null;
  }
}

/** @throws EngineError "invalid" for a type or a flag that is none */
function passes(network: Network, filters: Filters): boolean {
  const any = (name: string, holds: (value: string) => boolean): boolean =>
    filters[name] === undefined || filters[name].length === 0 || filters[name].some(holds);
  return (
    any("name", (value) => network.name.includes(value)) &&
    any("id", (value) => network.id.startsWith(value)) &&
    any("driver", (value) => network.driver === value) &&
    any("scope", (value) => value === "local") &&
    any("type", (value) => isOfType(value)) &&
    any("dangling", (value) => !truth(value)) &&
    (filters["label"] ?? []).length === 0
  );
}

/** Every network is predefined so far. */
function isOfType(value: string): boolean {
  if (value !== "builtin" && value !== "custom") throw invalid(`invalid filter 'type=${value}'`);
  return value === "builtin";
}

function truth(value: string): boolean {
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  throw invalid(`invalid filter 'dangling=${value}'`);
}
