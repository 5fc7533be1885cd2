/** The network room's rows: what is written here is decided, whether or not the kernel has it yet. */
import type { Store } from "#engine/store";

import { formatIpv4, parseCidr } from "./addresses/ip.ts";
import { parseCidr6 } from "./addresses/ipv6.ts";
import type { BridgeEndpoint, PortBinding, PortProtocol } from "./endpoint.ts";
import type {
  CustomNetwork,
  Endpoint,
  EndpointRequest,
  Network,
  PredefinedBridge,
} from "./network-service.ts";
import { gatewayOf, poolOf } from "./parts.ts";

interface NetworkRow {
  readonly id: string;
  readonly name: string;
  readonly driver: Network["driver"];
  readonly created_at: string;
  readonly bridge: string | null;
  readonly subnet: string | null;
  readonly gateway: string | null;
  readonly mtu: number;
  readonly custom: string | null;
}

interface EndpointRow {
  readonly id: string;
  readonly network_id: string;
  readonly container_id: string;
  readonly address: number | null;
  readonly address6: string | null;
  readonly mac_address: string;
  readonly host_link: string;
  readonly container_link: string;
  readonly custom: string | null;
}

/** What an endpoint has beyond addresses and links: kept for all but plain ones of the default bridge. */
export interface CustomEndpoint {
  readonly request: EndpointRequest;
  readonly dnsNames: readonly string[];
  readonly link: Pick<
    BridgeEndpoint,
    "defaultRoute" | "device" | "isolated" | "sysctls" | "linkLocal" | "bandwidth"
  >;
}

interface BindingRow {
  readonly container_id: string;
  readonly target: string;
  readonly protocol: PortProtocol;
  readonly container_port: number;
  readonly host_address: string;
  readonly host_port: number;
}

/** One published port and the container's address it leads to. */
export interface PublishedPort extends PortBinding {
  readonly containerId: string;
  readonly target: string;
}

export interface NewEndpoint {
  readonly id: string;
  readonly networkId: string;
  readonly containerId: string;
  /** null in a network without IPv4. */
  readonly address: number | null;
  readonly address6?: string;
  readonly custom?: CustomEndpoint;
  readonly macAddress: string;
  readonly hostLink: string;
  readonly containerLink: string;
}

/** Who has one IPv4 address of a network. */
export interface AddressHolder {
  readonly address: number;
  readonly containerId: string;
  readonly hostLink: string;
  readonly hasQueue: boolean;
  /** Its container ended, and its link may still be there. */
  readonly leaving: boolean;
}

interface HolderRow {
  readonly address: number;
  readonly container_id: string;
  readonly host_link: string;
  readonly leaving: number;
  readonly has_queue: number;
}

export class NetworkRecords {
  readonly #store: Store;
  /** Networks change only through `saveNetwork`: read once. */
  #networks: readonly Network[] | null = null;

  constructor(store: Store) {
    this.#store = store;
  }

  transact<T>(work: () => T): T {
    return this.#store.transact(work);
  }

  /** For what the kernel forgets with the machine: addresses, links and ports in use. */
  transactInUse<T>(work: () => T): T {
    return this.#store.transact(work, "process");
  }

  networks(): readonly Network[] {
    this.#networks ??= this.#store
      .query<NetworkRow>("SELECT * FROM networks ORDER BY rowid")
      .all()
      .map(networkOf);
    return this.#networks;
  }

  /** Adds a network, or changes the one with this id. */
  saveNetwork(network: Network): void {
    const { id, name, driver, createdAt, bridge, subnet, gateway, mtu } = network;
    this.#networks = null;
    this.#store
      .query(
        `INSERT INTO networks (id, name, driver, created_at, bridge, subnet, gateway, mtu, custom)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET bridge = excluded.bridge, subnet = excluded.subnet,
           gateway = excluded.gateway, mtu = excluded.mtu, custom = excluded.custom`,
      )
      .run(
        id,
        name,
        driver,
        createdAt.toISOString(),
        // Several networks may share one parent link: only bridges are in the unique column.
        driver === "bridge" ? bridge : null,
        subnet,
        gateway,
        mtu,
        extraOf(network),
      );
  }

  /** Endpoints that are leaving go with it. */
  deleteNetwork(id: string): void {
    this.#networks = null;
    this.#store.query("DELETE FROM endpoints WHERE network_id = ?").run(id);
    this.#store.query("DELETE FROM networks WHERE id = ?").run(id);
  }

  /** Who has addresses in a network, from one address on, lowest first. */
  holdersFrom(networkId: string, first: number): AddressHolder[] {
    return this.#store
      .query<HolderRow>(
        `SELECT address, container_id, host_link, leaving,
           coalesce(leaving = 1 AND instr(custom, '"bandwidth"') > 0, 0) AS has_queue
         FROM endpoints WHERE network_id = ? AND address >= ? ORDER BY address`,
      )
      .all(networkId, first)
      .map((row) => ({
        address: row.address,
        containerId: row.container_id,
        hostLink: row.host_link,
        hasQueue: row.has_queue === 1,
        leaving: row.leaving === 1,
      }));
  }

  isAddressTaken(networkId: string, address: number): boolean {
    return (
      this.#store
        .query("SELECT 1 FROM endpoints WHERE network_id = ? AND address = ?")
        .get(networkId, address) !== null
    );
  }

  isAddress6Taken(networkId: string, address: string): boolean {
    return (
      this.#store
        .query("SELECT 1 FROM endpoints WHERE network_id = ? AND address6 = ?")
        .get(networkId, address) !== null
    );
  }

  addEndpoint(endpoint: NewEndpoint): void {
    const { id, networkId, containerId, address, macAddress, hostLink, containerLink } = endpoint;
    const { address6 = null, custom } = endpoint;
    this.#store
      .query(
        `INSERT INTO endpoints (id, network_id, container_id, address, mac_address, host_link,
           container_link, address6, custom)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        id,
        networkId,
        containerId,
        address,
        macAddress,
        hostLink,
        containerLink,
        address6,
        custom ? JSON.stringify(custom) : null,
      );
  }

  /** Routes and names of an endpoint that stays. */
  changeEndpoint(id: string, custom: CustomEndpoint): void {
    this.#store
      .query("UPDATE endpoints SET custom = ? WHERE id = ?")
      .run(JSON.stringify(custom), id);
  }

  /** One endpoint of a container that runs on; its address is free when its link is gone. */
  leaveNetwork(endpointId: string): void {
    this.#store.query("UPDATE endpoints SET leaving = 1 WHERE id = ?").run(endpointId);
  }

  endpointsOf(containerId: string): Endpoint[] {
    return this.#endpoints("container_id = ? AND leaving = 0", containerId);
  }

  /** Those whose links may still be there. */
  leavingOf(containerId: string): Endpoint[] {
    return this.#endpoints("container_id = ? AND leaving = 1", containerId);
  }

  endpointsIn(networkId: string): Endpoint[] {
    return this.#endpoints("network_id = ? AND leaving = 0", networkId);
  }

  allEndpoints(): Endpoint[] {
    return this.#endpoints("leaving = 0");
  }

  /** Those whose bandwidth is limited, and maybe more. */
  limitedEndpoints(): Endpoint[] {
    return this.#endpoints("leaving = 0 AND instr(custom, '\"bandwidth\"') > 0");
  }

  /** The containers that have endpoints or ports. */
  containers(): string[] {
    return this.#store
      .query<{ container_id: string }>(
        `SELECT container_id FROM endpoints WHERE leaving = 0
         UNION SELECT container_id FROM port_bindings`,
      )
      .all()
      .map(({ container_id }) => container_id);
  }

  /** True when anything in this network still has an address. */
  isUsed(networkId: string): boolean {
    return (
      this.#store.query("SELECT 1 FROM endpoints WHERE network_id = ?").get(networkId) !== null
    );
  }

  /** The container is gone; its addresses are free when its links are gone as well. */
  leave(containerId: string): void {
    this.#store.query("UPDATE endpoints SET leaving = 1 WHERE container_id = ?").run(containerId);
  }

  /** The host's ends of links whose containers are gone, and whether each may have a queue of its own. */
  leavingLinks(): {
    readonly hostLink: string;
    readonly networkId: string;
    readonly hasQueue: boolean;
  }[] {
    return this.#store
      .query<{ host_link: string; network_id: string; has_queue: number }>(
        `SELECT host_link, network_id, coalesce(instr(custom, '"bandwidth"') > 0, 0) AS has_queue
         FROM endpoints WHERE leaving = 1`,
      )
      .all()
      .map((row) => ({
        hostLink: row.host_link,
        networkId: row.network_id,
        hasQueue: row.has_queue === 1,
      }));
  }

  /** Their addresses are free. */
  forgetLinks(hostLinks: readonly string[]): void {
    const remove = this.#store.query("DELETE FROM endpoints WHERE host_link = ?");
    for (const hostLink of hostLinks) remove.run(hostLink);
  }

  addBindings(ports: readonly PublishedPort[]): void {
    const add = this.#store.query(
      `INSERT OR REPLACE INTO port_bindings
         (container_id, target, protocol, container_port, host_address, host_port)
       VALUES (?, ?, ?, ?, ?, ?)`,
    );
    for (const port of ports) {
      const { containerId, target, protocol, containerPort, hostAddress, hostPort } = port;
      add.run(containerId, target, protocol, containerPort, hostAddress, hostPort);
    }
  }

  bindingsOf(containerId: string): PublishedPort[] {
    return this.#store
      .query<BindingRow>("SELECT * FROM port_bindings WHERE container_id = ?")
      .all(containerId)
      .map(publishedOf);
  }

  allBindings(): PublishedPort[] {
    return this.#store.query<BindingRow>("SELECT * FROM port_bindings").all().map(publishedOf);
  }

  removeBindings(containerId: string): void {
    this.#store.query("DELETE FROM port_bindings WHERE container_id = ?").run(containerId);
  }

  hostFact(key: string): string | null {
    const row = this.#store
      .query<{ value: string }>("SELECT value FROM network_host WHERE key = ?")
      .get(key);
    return row?.value ?? null;
  }

  setHostFact(key: string, value: string): void {
    this.#store
      .query("INSERT OR REPLACE INTO network_host (key, value) VALUES (?, ?)")
      .run(key, value);
  }

  #endpoints(where: string, ...values: string[]): Endpoint[] {
    return this.#store
      .query<EndpointRow>(`SELECT * FROM endpoints WHERE ${where}`)
      .all(...values)
      .map((row) => this.#endpointOf(row));
  }

  #endpointOf(row: EndpointRow): Endpoint {
    const network = this.networks().find(({ id }) => id === row.network_id);
    const custom = row.custom === null ? null : (JSON.parse(row.custom) as CustomEndpoint);
    const ipv6 = row.address6 === null || !network ? null : ipv6Of(network, row.address6);
    return {
      id: row.id,
      networkId: row.network_id,
      networkName: network?.name ?? "",
      containerId: row.container_id,
      link: {
        bridge: network?.bridge ?? "",
        hostLink: row.host_link,
        containerLink: row.container_link,
        macAddress: row.mac_address,
        address: row.address === null ? "" : formatIpv4(row.address),
        prefixLength: network?.subnet ? parseCidr(network.subnet).subnet.prefixLength : 32,
        gateway: network ? gatewayOf(network, "ipv4") : null,
        mtu: network?.mtu ?? 1500,
        ...(ipv6 && { ipv6 }),
        ...custom?.link,
      },
      request: custom?.request ?? { network: network?.name ?? "" },
      dnsNames: custom?.dnsNames ?? [],
    };
  }
}

function ipv6Of(network: Network, address: string): NonNullable<BridgeEndpoint["ipv6"]> | null {
  const pool = poolOf(network, "ipv6");
  if (!pool) return null;
  const { prefixLength } = parseCidr6(pool.subnet).subnet;
  return { address, prefixLength, gateway: gatewayOf(network, "ipv6") };
}

/** JSON of what a row has no columns for. */
function extraOf({ custom, predefined, driver, bridge }: Network): string | null {
  if (custom === null) return predefined === undefined ? null : JSON.stringify({ predefined });
  return JSON.stringify({ ...custom, ...(driver === "bridge" ? {} : { parent: bridge }) });
}

type Extra =
  | { readonly predefined: PredefinedBridge }
  | (CustomNetwork & { readonly predefined?: never; readonly parent?: string | null });

function networkOf(row: NetworkRow): Network {
  const extra = row.custom === null ? null : (JSON.parse(row.custom) as Extra);
  const custom = extra === null || extra.predefined !== undefined ? null : extra;
  return {
    id: row.id,
    name: row.name,
    driver: row.driver,
    createdAt: new Date(row.created_at),
    subnet: row.subnet,
    gateway: row.gateway,
    bridge: custom?.parent === undefined ? row.bridge : custom.parent,
    mtu: row.mtu,
    custom,
    ...(extra?.predefined && { predefined: extra.predefined }),
  };
}

const publishedOf = (row: BindingRow): PublishedPort => ({
  containerId: row.container_id,
  target: row.target,
  protocol: row.protocol,
  containerPort: row.container_port,
  hostAddress: row.host_address,
  hostPort: row.host_port,
});
