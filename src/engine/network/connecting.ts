/**
 * Connecting and disconnecting containers that run. The record changes first, in one transaction with the container's
 * own; then the links. A crash in between leaves a record whose link `repair` makes, or a link that is on its way out.
 */
import { forbidden, internal, sentenceOf, wrap } from "#base";

import {
  designEndpoints,
  type DesignTools,
  type Owner,
  releasePending,
  type Wish,
} from "./endpoint-design.ts";
import type { PortBinding } from "./endpoint.ts";
import type {
  ConnectRequest,
  DisconnectRequest,
  Endpoint,
  Network,
  PortRequest,
} from "./network-service.ts";
import { type Placed, type PortTarget, type PublishingOptions, targetOf } from "./publishing.ts";
import type { CustomEndpoint, NetworkRecords, NewEndpoint } from "./records.ts";
import { candidateOf, defaultRoutes } from "./routes.ts";
import { changeLinks, linkNamesIn, removeLink } from "./sandbox/change.ts";

export interface ConnectingParts {
  readonly records: NetworkRecords;
  readonly tools: DesignTools;
  readonly resolve: (nameOrId: string) => Network;
  /** Of published ports that name no address of the host. */
  readonly publishing: PublishingOptions;
  /** Makes the container's ports lead to `target`; null: nowhere. */
  readonly publishAnew: (
    owner: Owner,
    ports: readonly PortRequest[],
    target: PortTarget | null,
  ) => Promise<PortBinding[]>;
  readonly guard: (endpoints: readonly Endpoint[]) => void;
  readonly unguard: (endpoints: readonly Endpoint[]) => void;
  readonly warn: (message: string) => void;
}

/** @returns the new endpoint, and the container's ports as they are now */
export async function connectRunning(
  parts: ConnectingParts,
  request: ConnectRequest,
): Promise<{ endpoint: Endpoint; ports: PortBinding[] }> {
  const { records, tools } = parts;
  const { owner, pid } = request;
  const network = parts.resolve(request.endpoint.network);
  const before = records.endpointsOf(owner.containerId);
  if (before.some(({ networkId }) => networkId === network.id)) {
    throw forbidden(
      `endpoint with name ${owner.containerName ?? ""} already exists in network ${network.name}`,
    );
  }
  const taken = new Set(before.map(({ link }) => link.containerLink));
  const wish: Wish = { network, request: request.endpoint };
  const designed = designEndpoints([wish], owner, tools, taken);
  try {
    const wishes = [...before.map((endpoint) => wishOf(parts, endpoint)), wish];
    const routes = defaultRoutes(wishes.map(candidateOf));
    records.transactInUse(() => {
      before.forEach((endpoint, index) => saveRoutes(records, endpoint, routes[index]));
      for (const endpoint of designed) {
        records.addEndpoint(withRoute(endpoint, wish, before.length > 0 ? routes.at(-1) : null));
      }
      request.record?.();
    });
  } finally {
    releasePending(designed, tools.pending);
  }
  const after = records.endpointsOf(owner.containerId);
  const endpoint = after.find(({ id }) => id === designed[0]?.id);
  if (!endpoint) throw internal("the new endpoint is not on record");
  try {
    parts.guard([endpoint]);
    changeLinks({ pid, added: endpoint.link, stayed: pairsOf(before, after) });
    const ports = await parts.publishAnew(
      owner,
      request.ports,
      targetOf(placedOf(parts, after), parts.publishing),
    );
    return { endpoint, ports };
  } catch (cause) {
    undo(parts, request, { endpoint, before });
    throw wrap("failed to set up container networking", cause);
  }
}

/** The records and links as they were. */
function undo(
  { records, warn, unguard }: ConnectingParts,
  { pid, unrecord }: ConnectRequest,
  { endpoint, before }: { endpoint: Endpoint; before: readonly Endpoint[] },
): void {
  try {
    removeLink(pid, endpoint.link);
  } catch (thrown) {
    warn(`a link of ${endpoint.networkName} is left: ${sentenceOf(thrown)}`);
  }
  unguard([endpoint]);
  const after = records.endpointsOf(endpoint.containerId);
  records.transactInUse(() => {
    records.forgetLinks([endpoint.link.hostLink]);
    for (const one of before) saveRoutes(records, one, one.link.defaultRoute);
    unrecord?.();
  });
  const now = records.endpointsOf(endpoint.containerId);
  try {
    changeLinks({ pid, stayed: pairsOf(after, now) });
  } catch (thrown) {
    warn(`default routes could not be put back: ${sentenceOf(thrown)}`);
  }
}

/** @returns the container's ports as they are now */
export async function disconnectRunning(
  parts: ConnectingParts,
  request: DisconnectRequest,
): Promise<{ endpoint: Endpoint; ports: PortBinding[] }> {
  const { records } = parts;
  const { owner, pid, networkId } = request;
  const before = records.endpointsOf(owner.containerId);
  const endpoint = before.find((one) => one.networkId === networkId);
  if (!endpoint) {
    throw internal(`container ${owner.containerId} is not connected to network ${networkId}`);
  }
  const rest = before.filter((one) => one !== endpoint);
  const routes = defaultRoutes(rest.map((one) => candidateOf(wishOf(parts, one))));
  records.transactInUse(() => {
    records.leaveNetwork(endpoint.id);
    rest.forEach((one, index) => saveRoutes(records, one, routes[index]));
    request.record?.();
  });
  const after = records.endpointsOf(owner.containerId);
  changeLinks({ pid, removed: endpoint.link, stayed: pairsOf(rest, after) });
  parts.unguard([endpoint]);
  records.transactInUse(() => records.forgetLinks([endpoint.link.hostLink]));
  const ports = await parts.publishAnew(
    owner,
    request.ports,
    targetOf(placedOf(parts, after), parts.publishing),
  );
  return { endpoint, ports };
}

/**
 * Start-up: a disconnect that a crash cut off is finished. A veth goes by its end on the host; a link without one
 * would stay in the container, with an address that is free for others.
 */
export function finishDisconnects(
  { records, warn }: Pick<ConnectingParts, "records" | "warn">,
  containerId: string,
  pid: number | null,
): void {
  const leaving = records.leavingOf(containerId).filter(({ link }) => link.device !== undefined);
  if (pid === null || leaving.length === 0) return;
  // Another link may have its name by now.
  const inUse = new Set(records.endpointsOf(containerId).map(({ link }) => link.containerLink));
  try {
    for (const { link } of leaving) if (!inUse.has(link.containerLink)) removeLink(pid, link);
  } catch (thrown) {
    warn(`a link of ${containerId} could not be removed: ${sentenceOf(thrown)}`);
  }
}

/** Start-up: a connect that a crash cut off is finished. */
export function repairLinks(
  { records, warn }: Pick<ConnectingParts, "records" | "warn">,
  { containerId, pid, present }: { containerId: string; pid: number; present: ReadonlySet<string> },
): void {
  const endpoints = records.endpointsOf(containerId);
  const isSuspect = ({ link }: Endpoint) =>
    link.device !== undefined || !present.has(link.hostLink);
  if (!endpoints.some(isSuspect)) return;
  try {
    const inside = linkNamesIn(pid);
    for (const { link } of endpoints) {
      if (inside.has(link.containerLink)) continue;
      changeLinks({ pid, added: link, stayed: [] });
    }
  } catch (thrown) {
    warn(`the networks of ${containerId} could not be repaired: ${sentenceOf(thrown)}`);
  }
}

const wishOf = ({ resolve }: Pick<ConnectingParts, "resolve">, endpoint: Endpoint): Wish => ({
  network: resolve(endpoint.networkId),
  request: endpoint.request,
});

const placedOf = (
  parts: Pick<ConnectingParts, "resolve">,
  endpoints: readonly Endpoint[],
): Placed[] =>
  endpoints.map((endpoint) => ({
    ...wishOf(parts, endpoint),
    ipv4: endpoint.link.address === "" ? null : endpoint.link.address,
    ipv6: endpoint.link.ipv6?.address ?? null,
  }));

type Route = NonNullable<Endpoint["link"]["defaultRoute"]>;

function saveRoutes(records: NetworkRecords, endpoint: Endpoint, route: Route | undefined): void {
  const custom = customOf(endpoint);
  const { defaultRoute: _, ...link } = custom.link;
  records.changeEndpoint(endpoint.id, {
    ...custom,
    link: { ...link, ...(route && { defaultRoute: route }) },
  });
}

/** What is kept of an endpoint beyond addresses and links. */
export function customOf({ request, dnsNames, link }: Endpoint): CustomEndpoint {
  const { device, isolated, sysctls, linkLocal, bandwidth, defaultRoute } = link;
  return {
    request,
    dnsNames,
    link: {
      ...(device && { device }),
      ...(isolated === undefined ? {} : { isolated }),
      ...(sysctls && { sysctls }),
      ...(linkLocal && { linkLocal }),
      ...(bandwidth && { bandwidth }),
      ...(defaultRoute && { defaultRoute }),
    },
  };
}

function withRoute(
  endpoint: NewEndpoint,
  wish: Wish,
  route: Route | null | undefined,
): NewEndpoint {
  if (!route) return endpoint;
  const custom = endpoint.custom ?? { request: wish.request, dnsNames: [], link: {} };
  return { ...endpoint, custom: { ...custom, link: { ...custom.link, defaultRoute: route } } };
}

function pairsOf(before: readonly Endpoint[], after: readonly Endpoint[]) {
  return before.flatMap((one) => {
    const other = after.find(({ id }) => id === one.id);
    return other ? [{ before: one.link, after: other.link }] : [];
  });
}
