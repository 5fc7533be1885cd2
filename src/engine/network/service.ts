/**
 * The daemon's part: which networks there are, who has which address, which ports lead where. Everything is
 * recorded before it exists; `ensure` and `reconcile` make the kernel agree with the records.
 */
import { conflict, invalid, newId, notFound, sentenceOf, shortId, wrap } from "#base";
import type { Store } from "#engine/store";
import { deleteConnections, IPPROTO_UDP, type Netlink, openNetlink } from "#linux/netlink";
import { type Nftables, openNftables } from "#linux/nftables";

import { macOf, nextAddress } from "./addresses/allocation.ts";
import { contains, formatIpv4, parseCidr, parseIpv4, type Subnet } from "./addresses/ip.ts";
import { DefaultBridge } from "./bridge/default-bridge.ts";
import type { NetworkAttachment, PortBinding } from "./endpoint.ts";
import { Firewall } from "./firewall/firewall.ts";
import type { Endpoint, Network, NetworkService, PortHolder } from "./network-service.ts";
import { NetworkRecords, type NewEndpoint, type PublishedPort } from "./records.ts";

export interface NetworkOptions {
  /** The default bridge's link; "naru0". Another name also names another firewall table. */
  readonly bridge?: string;
  /** Address and prefix of the bridge, `172.30.0.1/24`; else a free subnet is chosen, once. */
  readonly bip?: string;
  /** The part of the subnet that containers get addresses from. */
  readonly fixedCidr?: string;
  readonly mtu?: number;
}

export interface NetworkServiceRequest {
  readonly store: Store;
  readonly portHolder: PortHolder;
  readonly options: NetworkOptions;
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
  /** Takes bridge, table and rules off the host: for uninstalling, and for private engines that end. */
  remove(): void;
}

/** A container's link may still be there when it has ended: this long the kernel has to remove it. */
const LINK_GRACE_MS = 2500;
/** How often a wiped firewall is looked for: 0.3 ms each. */
const VERIFY_INTERVAL_MS = 10_000;
const LINK_PREFIX = "naru";
const LINK_ID_DIGITS = 10;

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
  readonly #warn: (message: string) => void;
  readonly #fixedRange: Subnet | null;
  readonly #pendingAddresses = new Set<number>();
  #reapTimer: Timer | null = null;
  #verifyTimer: Timer | null = null;

  constructor({ store, portHolder, options, warn, netlink, nftables }: NetworkServiceRequest) {
    this.#records = new NetworkRecords(store);
    this.#portHolder = portHolder;
    this.#warn = warn;
    this.#netlink = netlink ?? openNetlink();
    this.#default = new DefaultBridge({
      records: this.#records,
      netlink: this.#netlink,
      options,
    });
    this.#fixedRange = options.fixedCidr === undefined ? null : parseCidr(options.fixedCidr).subnet;
    this.#firewall = new Firewall({
      nftables: nftables ?? openNftables(),
      bridge: this.#default.bridge,
      facts: () => ({
        subnet: this.#default.network().subnet ?? "",
        ports: this.#records.allBindings(),
        guard: this.#default.guard(),
      }),
    });
  }

  ensure(): Promise<void> {
    this.#default.decide();
    this.#checkRange();
    // The table first: route_localnet and forwarding must never be on without its rules.
    this.#firewall.ensure();
    this.#default.ensure();
    this.#verifyTimer ??= setInterval(() => {
      try {
        if (this.verify()) this.#warn("the firewall table was gone, and is restored");
      } catch (thrown) {
        this.#warn(sentenceOf(thrown));
      }
    }, VERIFY_INTERVAL_MS).unref();
    return Promise.resolve();
  }

  verify(): boolean {
    return this.#firewall.verify();
  }

  remove(): void {
    this.#firewall.remove();
    this.#netlink.deleteLink(this.#default.bridge);
  }

  list(): Network[] {
    return [...this.#records.networks()];
  }

  resolve(nameOrId: string): Network {
    const networks = this.#records.networks();
    const name = nameOrId === "default" ? "bridge" : nameOrId;
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

  endpointsIn(networkId: string): Endpoint[] {
    return this.#records.endpointsIn(networkId);
  }

  async attach(request: AttachRequest): Promise<Attached> {
    try {
      const networks = request.networks.map((name) => this.resolve(name));
      const [first, ...others] = networks;
      if (!first) throw invalid("no network was given");
      if (others.length > 0) throw invalid("a container can be in one network only");
      switch (first.driver) {
        case "host":
          return { attachment: { mode: "shared" }, endpoints: [], ports: [] };
        case "null":
          return { attachment: { mode: "none" }, endpoints: [], ports: [] };
        case "bridge":
          return await this.#attachBridge(first, request);
      }
    } catch (cause) {
      throw wrap("failed to set up container networking", cause);
    }
  }

  publish(containerId: string, ports: readonly PortBinding[]): Promise<void> {
    const [endpoint] = this.#records.endpointsOf(containerId);
    if (!endpoint || ports.length === 0) return Promise.resolve();
    const target = endpoint.link.address;
    const published = ports.map((port) => ({ ...port, containerId, target }));
    this.#firewall.publish(published);
    this.#flushUdp(published);
    return Promise.resolve();
  }

  release(containerId: string): Promise<void> {
    return this.#releaseAll([containerId]);
  }

  async reconcile(alive: ReadonlySet<string>): Promise<void> {
    await this.#releaseAll(this.#records.containers().filter((id) => !alive.has(id)));
    this.#reap();
    this.#removeStrangers();
    await this.#reconcilePorts(alive);
  }

  [Symbol.dispose](): void {
    if (this.#reapTimer) clearTimeout(this.#reapTimer);
    if (this.#verifyTimer) clearInterval(this.#verifyTimer);
    [this.#reapTimer, this.#verifyTimer] = [null, null];
    this.#netlink[Symbol.dispose]();
    this.#firewall[Symbol.dispose]();
  }

  async #attachBridge(network: Network, request: AttachRequest): Promise<Attached> {
    const { containerId, ports } = request;
    if (this.#records.endpointsOf(containerId).length > 0) await this.release(containerId);
    const decided = this.#decideEndpoint(network, request);
    try {
      const target = formatIpv4(decided.address);
      const bound = ports.length === 0 ? [] : await this.#reserve(decided, target, request);
      // One transaction for all: what the supervisor holds without a record, `reconcile` lets go.
      this.#records.transactInUse(() => {
        this.#records.addEndpoint(decided);
        this.#records.addBindings(containerId, target, bound);
      });
      const endpoints = this.#records.endpointsOf(containerId);
      const attachment: NetworkAttachment = {
        mode: "bridge",
        endpoints: endpoints.map(({ link }) => link),
      };
      return { attachment, endpoints, ports: bound };
    } finally {
      this.#pendingAddresses.delete(decided.address);
    }
  }

  async #reserve(
    { id, containerId }: NewEndpoint,
    target: string,
    { containerName, ports }: AttachRequest,
  ): Promise<PortBinding[]> {
    try {
      return await this.#portHolder.reserve({ id: containerId, ports, target });
    } catch (cause) {
      const name = containerName ?? shortId(containerId);
      throw wrap(
        `driver failed programming external connectivity on endpoint ${name} (${id})`,
        cause,
      );
    }
  }

  /** Its address is kept from others until it is recorded, or given up. */
  #decideEndpoint(network: Network, { containerId, macAddress = "" }: AttachRequest): NewEndpoint {
    if (macAddress !== "" && !/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(macAddress)) {
      throw invalid(`invalid MAC address: ${macAddress}`);
    }
    const choose = () => nextAddress(this.#records, this.#rangeOf(network));
    let address: number;
    try {
      address = choose();
    } catch (thrown) {
      // Full: perhaps only of containers that have ended a moment ago.
      if (this.#reap() === 0) throw thrown;
      address = choose();
    }
    this.#pendingAddresses.add(address);
    const id = newId();
    return {
      id,
      networkId: network.id,
      containerId,
      address,
      macAddress: macAddress.toLowerCase().replaceAll("-", ":") || macOf(address),
      hostLink: `${LINK_PREFIX}${id.slice(0, LINK_ID_DIGITS)}`,
      containerLink: "eth0",
    };
  }

  #rangeOf(network: Network) {
    const { subnet } = parseCidr(network.subnet ?? "");
    return {
      networkId: network.id,
      networkName: network.name,
      subnet,
      range: this.#fixedRange ?? subnet,
      gateway: parseIpv4(network.gateway ?? "") ?? 0,
      pending: this.#pendingAddresses,
    };
  }

  #checkRange(): void {
    const subnet = this.#default.network().subnet ?? "";
    const range = this.#fixedRange;
    if (!range || contains(parseCidr(subnet).subnet, range.base)) return;
    throw invalid(`--fixed-cidr ${formatIpv4(range.base)} is not in the bridge's subnet ${subnet}`);
  }

  /** One transaction for all records, one for all elements. Links follow, see `#reap`. */
  async #releaseAll(containerIds: readonly string[]): Promise<void> {
    const records = this.#records;
    const known = containerIds.filter(
      (id) => records.endpointsOf(id).length > 0 || records.bindingsOf(id).length > 0,
    );
    if (known.length === 0) return;
    const ports = known.flatMap((id) => records.bindingsOf(id));
    records.transactInUse(() => {
      for (const id of known) {
        records.removeBindings(id);
        records.leave(id);
      }
    });
    this.#reapTimer ??= setTimeout(() => this.#reap(), LINK_GRACE_MS).unref();
    this.#firewall.unpublish(ports);
    this.#flushUdp(ports);
    const holders = new Set(ports.map(({ containerId }) => containerId));
    await Promise.all(Array.from(holders, (id) => this.#portHolder.release(id)));
  }

  /**
   * Frees the addresses of containers that ended. Their links die with their namespaces, by the kernel; what is
   * left is deleted here, all at once. @returns how many addresses became free
   */
  #reap(): number {
    if (this.#reapTimer) clearTimeout(this.#reapTimer);
    this.#reapTimer = null;
    const leaving = this.#records.leavingLinks();
    if (leaving.length === 0) return 0;
    const present = leaving.filter((name) => this.#netlink.getLink(name) !== null);
    if (present.length > 0) this.#netlink.deleteLinks(present);
    this.#records.transactInUse(() => this.#records.forgetLinks(leaving));
    return leaving.length;
  }

  /** Ports of our bridge that no record knows: the records are older than they, or were lost. */
  #removeStrangers(): void {
    const bridge = this.#netlink.getLink(this.#default.bridge);
    if (!bridge) return;
    const ours = new Set(this.#records.allEndpoints().map(({ link }) => link.hostLink));
    const strangers = this.#netlink
      .listLinks()
      .filter(({ kind, master, name }) => {
        const isPort = kind === "veth" && master === bridge.index;
        return isPort && name.startsWith(LINK_PREFIX) && !ours.has(name);
      })
      .map(({ name }) => name);
    if (strangers.length > 0) this.#netlink.deleteLinks(strangers);
  }

  /** The supervisor may hold ports of nobody, or, started anew, none of those it should. */
  async #reconcilePorts(alive: ReadonlySet<string>): Promise<void> {
    const holders = await this.#portHolder.list?.();
    if (!holders) return;
    const held = new Set(holders.map(({ id }) => id));
    for (const id of held) if (!alive.has(id)) await this.#portHolder.release(id);
    for (const id of alive) {
      const ports = held.has(id) ? [] : this.#records.bindingsOf(id);
      if (ports.length > 0) await this.#reserveAgain(id, ports);
    }
  }

  async #reserveAgain(id: string, ports: readonly PublishedPort[]): Promise<void> {
    const target = ports[0]?.target ?? null;
    try {
      await this.#portHolder.reserve({ id, ports, target });
    } catch (thrown) {
      // The container runs and is reachable by the firewall: tell, but keep it.
      this.#warn(`the ports of ${shortId(id)} are no longer reserved: ${sentenceOf(thrown)}`);
    }
  }

  /** Clients that keep sending would go on reaching the former target (moby #44742). */
  #flushUdp(ports: readonly PublishedPort[]): void {
    const udp = ports.filter(({ protocol, hostAddress }) => {
      return protocol === "udp" && !hostAddress.includes(":");
    });
    if (udp.length === 0) return;
    const destinationPorts = new Set(udp.map(({ hostPort }) => hostPort));
    try {
      deleteConnections({ protocol: IPPROTO_UDP, destinationPorts });
    } catch (thrown) {
      this.#warn(`old UDP connections stay: ${sentenceOf(thrown)}`);
    }
  }
}
