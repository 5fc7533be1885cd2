/**
 * The daemon's part: which networks there are, who has which address, which ports lead where. Everything is
 * recorded before it exists; `ensure` and `reconcile` make the kernel agree with the records.
 */
import { conflict, forbidden, invalid, notFound, sentenceOf, shortId, wrap } from "#base";
import type { EventBus } from "#engine/events";
import type { Store } from "#engine/store";
import { type Family, type Netlink, openNetlink } from "#linux/netlink";
import { type Nftables, openNftables } from "#linux/nftables";

import { pendingKey } from "./addresses/allocation.ts";
import { formatIpv4 } from "./addresses/ip.ts";
import { DOCKER_POOLS, parseDefaultPool } from "./addresses/pools.ts";
import { lockSubnets } from "./addresses/subnet-lock.ts";
import { ensurePorts } from "./bridge/bridge.ts";
import { DefaultBridge } from "./bridge/default-bridge.ts";
import type { DefaultBridgeOptions } from "./bridge/default-design.ts";
import { Forwarding, type ForwardingPolicy } from "./bridge/forwarding.ts";
import {
  connectRunning,
  customOf,
  finishDisconnects,
  type ConnectingParts,
  disconnectRunning,
  repairLinks,
} from "./connecting.ts";
import {
  checkJoinable,
  checkRequest,
  designEndpoints,
  dnsNamesOf,
  type DesignTools,
  linkNameOf,
  releasePending,
  type Wish,
} from "./endpoint-design.ts";
import type { LinkKind, NetworkAttachment, PortBinding } from "./endpoint.ts";
import { Firewall } from "./firewall/firewall.ts";
import { Guards } from "./firewall/guards.ts";
import type { EntryPolicy } from "./firewall/table.ts";
import { isConfiguration } from "./configuration.ts";
import { HostLinks } from "./host-links.ts";
import type {
  Connected,
  ConnectRequest,
  DisconnectRequest,
  Endpoint,
  EndpointOwner,
  EndpointRequest,
  Network,
  NetworkHolders,
  NetworkRequest,
  NetworkService,
  PortHolder,
} from "./network-service.ts";
import { poolOf } from "./parts.ts";
import { NetworkRecords, type NewEndpoint } from "./records.ts";
import { bindingOf, PortPublisher } from "./port-publisher.ts";
import { type Placed, publishedOf, type PublishingOptions, targetOf } from "./publishing.ts";
import { candidateOf, defaultRoutes } from "./routes.ts";
import { UserNetworks } from "./user-networks.ts";

export interface NetworkOptions extends DefaultBridgeOptions, ForwardingPolicy, EntryPolicy {
  /** The host's address of published ports of the default bridge that name none; any of them if not given. */
  readonly defaultAddress?: string;
  /** Relays published ports that the kernel cannot lead, those of [::1] among them; true. */
  readonly relay?: boolean;
  /** Families without rules of ours: `iptables=false`, `ip6tables=false`. Their ports are relayed. */
  readonly unruled?: readonly Family[];
  /** `base=10.10.0.0/16,size=24`: where subnets come from that nobody named. Docker's if not given. */
  readonly defaultAddressPools?: readonly string[];
}

export interface NetworkServiceRequest {
  readonly store: Store;
  readonly portHolder: PortHolder;
  readonly options: NetworkOptions;
  readonly events: Pick<EventBus, "publish">;
  /** Told what went wrong behind the scenes: a sentence. */
  readonly warn: (message: string) => void;
  /** The kernel's own by default. */
  readonly netlink?: Netlink;
  readonly nftables?: Nftables;
}

/** The service as the daemon holds it; disposing ends timers and sockets, the network stays. */
export interface OpenedNetworkService extends NetworkService, Disposable {
  /** Restores the firewall's table when another program has wiped it. @returns whether it was gone */
  verify(): boolean;
  /** Takes bridges, table and rules off the host: for uninstalling, and for private engines that end. */
  uninstall(): void;
}

/** A container's link may still be there when it has ended: this long the kernel has to remove it. */
const LINK_GRACE_MS = 2500;
/** How often a wiped firewall is looked for, and queues of links that are limited: 0.3 ms each. */
const VERIFY_INTERVAL_MS = 10_000;

/** The service; nothing touches the kernel before `ensure`. */
export const openNetworkService = (request: NetworkServiceRequest): OpenedNetworkService =>
  new BridgeNetworkService(request);

type AttachRequest = Parameters<NetworkService["attach"]>[0];
type Attached = Awaited<ReturnType<NetworkService["attach"]>>;

class BridgeNetworkService implements OpenedNetworkService {
  readonly #records: NetworkRecords;
  readonly #portHolder: PortHolder;
  readonly #netlink: Netlink;
  readonly #firewall: Firewall;
  readonly #default: DefaultBridge;
  readonly #users: UserNetworks;
  readonly #links: HostLinks;
  readonly #ports: PortPublisher;
  readonly #guards: Guards;
  readonly #forwarding: Forwarding;
  readonly #warn: (message: string) => void;
  readonly #events: Pick<EventBus, "publish">;
  readonly #publishing: PublishingOptions;
  readonly #tools: DesignTools;
  readonly #isWithoutBridge: boolean;
  #reapTimer: Timer | null = null;
  #verifyTimer: Timer | null = null;

  constructor({
    store,
    portHolder,
    options,
    events,
    warn,
    netlink,
    nftables,
  }: NetworkServiceRequest) {
    this.#events = events;
    this.#records = new NetworkRecords(store);
    this.#portHolder = portHolder;
    this.#warn = warn;
    this.#netlink = netlink ?? openNetlink();
    const asked = (options.defaultAddressPools ?? []).map(parseDefaultPool);
    const pools = asked.some(({ family }) => family === "ipv4")
      ? asked
      : [...asked, ...DOCKER_POOLS];
    const [records, own] = [this.#records, this.#netlink];
    const { unruled = [] } = options;
    const localhost = !unruled.includes("ipv4");
    this.#default = new DefaultBridge({ records, netlink: own, options, pools, localhost });
    const { defaultAddress = "", relay = true } = options;
    this.#isWithoutBridge = options.withoutBridge === true;
    this.#publishing = { defaultAddress, relay };
    this.#tools = {
      records,
      pending: new Set(),
      reap: () => this.#reap(),
      vacate: (holder, again) => this.#links.vacate(holder, again),
    };
    this.#forwarding = new Forwarding({ records, netlink: own, policy: options });
    const { bridge } = this.#default;
    this.#firewall = new Firewall({
      nftables: nftables ?? openNftables(),
      bridge,
      facts: () => ({
        bridges: this.#users.rules(),
        guarded: this.#guards.all(),
        ports: records.allBindings(),
        guard: this.#forwarding.guard("ipv4"),
        guard6: this.#forwarding.guard("ipv6"),
      }),
      unruled,
      entry: options,
    });
    const { firewall, forwarding } = { firewall: this.#firewall, forwarding: this.#forwarding };
    const parts = { records, netlink: own, firewall, forwarding };
    this.#guards = new Guards({ records, firewall, netlink: own });
    this.#links = new HostLinks({ records, netlink: own, bridge });
    this.#ports = new PortPublisher({ records, firewall, portHolder, warn, unruled });
    this.#users = new UserNetworks({ ...parts, bridge, pools, warn, localhost });
  }

  async ensure(): Promise<void> {
    using _ = await lockSubnets();
    this.#default.decide();
    const bridge = this.#default.network();
    const hasIpv6 = bridge !== null && poolOf(bridge, "ipv6") !== null;
    const families = hasIpv6 ? (["ipv4", "ipv6"] as const) : (["ipv4"] as const);
    for (const family of families) this.#forwarding.decide(family);
    // The table first: route_localnet and forwarding must never be on without its rules.
    this.#firewall.ensure();
    if (this.#default.ensure()) this.#firewall.ensure();
    for (const family of families) this.#forwarding.start(family);
    this.#users.ensure();
    const endpoints = this.#records.allEndpoints();
    ensurePorts(this.#netlink, endpoints);
    // Bridges that were just made again have a hardware address only now.
    this.#guards.add(endpoints);
    this.#verifyTimer ??= setInterval(() => {
      try {
        if (this.verify()) this.#warn("the firewall table was gone, and is restored");
        this.#restoreLimits();
      } catch (thrown) {
        this.#warn(sentenceOf(thrown));
      }
    }, VERIFY_INTERVAL_MS).unref();
  }

  verify(): boolean {
    return this.#firewall.verify();
  }

  uninstall(): void {
    this.#firewall.remove();
    this.#users.removeLinks();
    // One of another name may have been there before, and lead somewhere else.
    if (this.#default.bridge.startsWith("naru")) this.#netlink.deleteLink(this.#default.bridge);
  }

  async create(request: NetworkRequest): Promise<Network> {
    const network = await this.#users.create(request);
    this.#tell(network, "create");
    return network;
  }

  remove(nameOrId: string, nameOf: (containerId: string) => string = shortId): Promise<Network> {
    const network = this.resolve(nameOrId);
    if (this.#isBeingJoined(network)) {
      throw forbidden(`error while removing network: network ${network.name} has active endpoints`);
    }
    this.#links.removeQueues(network.id);
    this.#users.remove(network, nameOf);
    // Docker says nothing of the end of a configuration.
    if (!isConfiguration(network)) this.#tell(network, "destroy");
    return Promise.resolve(network);
  }

  prune(isMeant: (network: Network) => boolean): Promise<string[]> {
    const removed: string[] = [];
    for (const network of this.list()) {
      const inUse = this.#records.endpointsIn(network.id).length > 0;
      if (network.custom === null || isConfiguration(network)) continue;
      if (inUse || this.#isBeingJoined(network)) continue;
      if (!isMeant(network)) continue;
      this.#links.removeQueues(network.id);
      this.#users.remove(network, shortId);
      this.#tell(network, "destroy");
      removed.push(network.name);
    }
    const attributes = { reclaimed: "0" };
    this.#events.publish({ type: "network", action: "prune", actorId: "", attributes });
    return Promise.resolve(removed);
  }

  /** A container that starts now has an address that is not recorded yet. */
  #isBeingJoined({ id }: Network): boolean {
    return this.#tools.pending.values().some((key) => key.startsWith(pendingKey(id, "")));
  }

  #tell({ id, name, driver }: Network, action: "create" | "destroy"): void {
    const attributes = { name, type: driver };
    this.#events.publish({ type: "network", action, actorId: id, attributes });
  }

  list(): Network[] {
    return [...this.#records.networks()];
  }

  resolve(nameOrId: string): Network {
    const networks = this.#records.networks();
    const name = isDefault(nameOrId) ? "bridge" : nameOrId;
    const exact = networks.find((network) => network.name === name || network.id === name);
    if (exact) return exact;
    const matching = networks.filter(({ id }) => name !== "" && id.startsWith(name));
    if (matching.length > 1) throw conflict(`network ${name} is ambiguous`);
    const [only] = matching;
    if (!only) throw notFound(`network ${nameOrId} not found`);
    return only;
  }

  endpointsOf(containerId: string): Endpoint[] {
    return this.#records.endpointsOf(containerId);
  }

  expectedLink([request, ...others]: readonly EndpointRequest[]): LinkKind | null {
    if (request === undefined || others.length > 0) return null;
    const network = this.resolve(request.network);
    const { driver, bridge, mtu } = network;
    if (driver !== "bridge" || bridge === null || poolOf(network, "ipv6") !== null) return null;
    return { bridge, containerLink: linkNameOf(network, request), mtu };
  }

  endpointsIn(networkId: string): Endpoint[] {
    return this.#records.endpointsIn(networkId);
  }

  async attach(request: AttachRequest): Promise<Attached> {
    try {
      if (this.#isWithoutBridge && request.networks.every(({ network }) => isDefault(network))) {
        return { attachment: { mode: "none" }, endpoints: [], ports: [] };
      }
      const wishes = request.networks.map((one) => ({
        network: this.resolve(one.network),
        request: one,
      }));
      const [first, ...others] = wishes;
      if (!first) throw invalid("no network was given");
      for (const { network } of wishes) checkJoinable(network);
      for (const { network } of others.length > 0 ? wishes : []) {
        if (network.driver !== "host" && network.driver !== "null") continue;
        throw invalid(
          network.driver === "host"
            ? "container sharing network namespace with another container or host cannot be connected to any other network"
            : "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        );
      }
      switch (first.network.driver) {
        case "host":
          return { attachment: { mode: "shared" }, endpoints: [], ports: [] };
        case "null":
          return { attachment: { mode: "none" }, endpoints: [], ports: [] };
        case "bridge":
        case "macvlan":
        case "ipvlan":
          return await this.#attachLinks(wishes, request);
      }
    } catch (cause) {
      throw wrap("failed to set up container networking", cause);
    }
  }

  check(request: EndpointRequest): Network {
    const network = this.resolve(request.network);
    checkRequest(network, request);
    return network;
  }

  connect(request: ConnectRequest): Promise<Connected> {
    return connectRunning(this.#connecting(), request);
  }

  disconnect(request: DisconnectRequest): Promise<Connected> {
    return disconnectRunning(this.#connecting(), request);
  }

  rename(owner: EndpointOwner): void {
    const named = this.#records
      .endpointsOf(owner.containerId)
      .filter(({ dnsNames }) => dnsNames.length > 0);
    if (named.length === 0) return;
    this.#records.transactInUse(() => {
      for (const one of named) {
        const dnsNames = dnsNamesOf(one.request, owner);
        this.#records.changeEndpoint(one.id, { ...customOf(one), dnsNames });
      }
    });
  }

  portsOf(containerId: string): PortBinding[] {
    return this.#records.bindingsOf(containerId).map(bindingOf);
  }

  publish(containerId: string, ports: readonly PortBinding[]): Promise<void> {
    if (ports.length === 0) return Promise.resolve();
    // As recorded: with the address each one leads to.
    const published = this.#records.bindingsOf(containerId);
    if (published.length === 0) return Promise.resolve();
    this.#firewall.publish(published);
    this.#ports.flushUdp(published);
    return Promise.resolve();
  }

  release(containerId: string): Promise<void> {
    return this.#releaseAll([containerId]);
  }

  async reconcile(
    alive: NetworkHolders,
    pidOf: (containerId: string) => number | null = () => null,
  ): Promise<void> {
    await this.#releaseAll(this.#records.containers().filter((id) => !alive.has(id)));
    for (const id of alive) finishDisconnects(this.#connecting(), id, pidOf(id));
    this.#reap();
    this.#links.removeStrangers();
    this.#users.removeStrangers();
    this.#repairLinks(alive, pidOf);
    this.#restoreLimits();
    await this.#ports.reconcile(alive);
  }

  [Symbol.dispose](): void {
    if (this.#reapTimer) clearTimeout(this.#reapTimer);
    if (this.#verifyTimer) clearInterval(this.#verifyTimer);
    [this.#reapTimer, this.#verifyTimer] = [null, null];
    this.#netlink[Symbol.dispose]();
    this.#firewall[Symbol.dispose]();
  }

  #restoreLimits(): void {
    const count = this.#links.restoreLimits();
    if (count > 0) this.#warn(`bandwidth limits of ${count} links were gone, and are restored`);
  }

  #connecting(): ConnectingParts {
    return {
      records: this.#records,
      tools: this.#tools,
      publishing: this.#publishing,
      resolve: (nameOrId) => this.resolve(nameOrId),
      publishAnew: (owner, ports, target) => this.#ports.publishAnew(owner, ports, target),
      guard: (endpoints) => this.#guards.add(endpoints),
      unguard: (endpoints) => this.#guards.remove(endpoints),
      warn: this.#warn,
    };
  }

  #repairLinks(alive: NetworkHolders, pidOf: (containerId: string) => number | null): void {
    const holders = [...alive];
    if (holders.length === 0) return;
    const present = new Set(this.#netlink.listLinks().map(({ name }) => name));
    const parts = this.#connecting();
    for (const containerId of holders) {
      const pid = pidOf(containerId);
      if (pid !== null) repairLinks(parts, { containerId, pid, present });
    }
  }

  async #attachLinks(wishes: readonly Wish[], request: AttachRequest): Promise<Attached> {
    const { containerId } = request;
    if (this.#records.endpointsOf(containerId).length > 0) await this.release(containerId);
    const decided = withRoutes(wishes, designEndpoints(wishes, request, this.#tools));
    try {
      const target =
        request.ports.length === 0 ? null : targetOf(placedOf(wishes, decided), this.#publishing);
      const bound = target === null ? [] : await this.#ports.reserve(decided, target, request);
      try {
        // One transaction for all: what the supervisor holds without a record, `reconcile` lets go.
        this.#records.transactInUse(() => {
          for (const endpoint of decided) this.#records.addEndpoint(endpoint);
          if (target !== null) this.#records.addBindings(publishedOf(containerId, target, bound));
        });
      } catch (thrown) {
        // A full disk: no record would ever tell whose ports they are.
        if (bound.length > 0) await this.#portHolder.release(containerId);
        throw thrown;
      }
      const endpoints = this.#records.endpointsOf(containerId);
      this.#guards.add(endpoints);
      const attachment: NetworkAttachment = {
        mode: "bridge",
        endpoints: endpoints.map(({ link }) => link),
      };
      return { attachment, endpoints, ports: bound };
    } finally {
      releasePending(decided, this.#tools.pending);
    }
  }

  /** One transaction for all records, one for all elements. Links follow, see `#reap`. */
  async #releaseAll(containerIds: readonly string[]): Promise<void> {
    const records = this.#records;
    const known = containerIds.filter(
      (id) => records.endpointsOf(id).length > 0 || records.bindingsOf(id).length > 0,
    );
    if (known.length === 0) return;
    const ports = known.flatMap((id) => records.bindingsOf(id));
    this.#guards.removeOf(known);
    records.transactInUse(() => {
      for (const id of known) {
        records.removeBindings(id);
        records.leave(id);
      }
    });
    this.#reapTimer ??= setTimeout(() => this.#reap(), LINK_GRACE_MS).unref();
    this.#firewall.unpublish(ports);
    this.#ports.flushUdp(ports);
    const holders = new Set(ports.map(({ containerId }) => containerId));
    await Promise.all(Array.from(holders, (id) => this.#portHolder.release(id)));
  }

  #reap(): number {
    if (this.#reapTimer) clearTimeout(this.#reapTimer);
    this.#reapTimer = null;
    return this.#links.reap();
  }
}

const isDefault = (name: string): boolean => name === "default" || name === "bridge";

const placedOf = (wishes: readonly Wish[], endpoints: readonly NewEndpoint[]): Placed[] =>
  endpoints.flatMap(({ address, address6 }, index) => {
    const wish = wishes[index];
    if (!wish) return [];
    return [
      { ...wish, ipv4: address === null ? null : formatIpv4(address), ipv6: address6 ?? null },
    ];
  });

/** Of several networks one has the default route of each family; of a single one nothing needs to be said. */
function withRoutes(wishes: readonly Wish[], endpoints: readonly NewEndpoint[]): NewEndpoint[] {
  if (wishes.length < 2) return [...endpoints];
  const routes = defaultRoutes(wishes.map(candidateOf));
  return endpoints.map((endpoint, index) => {
    const wish = wishes[index];
    const defaultRoute = routes[index];
    if (!wish || !defaultRoute) return endpoint;
    const custom = endpoint.custom ?? { request: wish.request, dnsNames: [], link: {} };
    return { ...endpoint, custom: { ...custom, link: { ...custom.link, defaultRoute } } };
  });
}
