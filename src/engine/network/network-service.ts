/** The contract of the network room for the daemon: addresses, bridges, firewall and published ports. */
import type {
  BridgeEndpoint,
  LinkKind,
  NetworkAttachment,
  PortBinding,
  PortProtocol,
} from "./endpoint.ts";

/** What a container asks to publish; host port 0 is "choose one", a range is `hostPort`..`hostPortEnd`. */
export interface PortRequest {
  readonly protocol: PortProtocol;
  readonly containerPort: number;
  /** "" is every address of the host, IPv4 and IPv6. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly hostPortEnd?: number;
}

export type NetworkDriver = "bridge" | "macvlan" | "ipvlan" | "host" | "null";

/** One subnet of a network, as asked for and completed. Text as in the API. */
export interface AddressPool {
  readonly family: "ipv4" | "ipv6";
  readonly subnet: string;
  readonly gateway: string | null;
  readonly ipRange: string | null;
  readonly auxiliary: Readonly<Record<string, string>>;
  /** What nobody asked for: the gateway, or the subnet and with it the gateway. Networks of old do not say. */
  readonly chosen?: "gateway" | "subnet";
}

export interface Network {
  readonly id: string;
  /** "bridge", "host", "none" or a user's name. */
  readonly name: string;
  readonly driver: NetworkDriver;
  readonly createdAt: Date;
  /** `172.18.0.0/16` and its gateway; null for host, none and without IPv4. */
  readonly subnet: string | null;
  readonly gateway: string | null;
  /** The host's link: `naru0`; the parent link of macvlan and ipvlan. */
  readonly bridge: string | null;
  readonly mtu: number;
  /** What a user's network has beyond the three predefined ones. */
  readonly custom: CustomNetwork | null;
  /** What the operator made of the default bridge; only there. */
  readonly predefined?: PredefinedBridge;
}

/** The default bridge as flags and configuration file want it. */
export interface PredefinedBridge {
  readonly pools: readonly AddressPool[];
  /** As a user's network has them: icc, masquerading. */
  readonly options: Readonly<Record<string, string>>;
  /** Where its containers' default routes lead instead of to the bridge's own addresses. */
  readonly gateways: { readonly ipv4: string | null; readonly ipv6: string | null };
}

export interface CustomNetwork {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly pools: readonly AddressPool[];
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** The driver's, as given. */
  readonly options: Readonly<Record<string, string>>;
  readonly ipam: { readonly driver: string; readonly options: Readonly<Record<string, string>> };
  /** The link was there before the network, and stays after it. */
  readonly foreignLink: boolean;
  /** Only options for other networks: it has no link, and its pools are wishes. */
  readonly configOnly?: true;
  /** The name of the configuration that it was made from. */
  readonly configFrom?: string;
}

/** What `network create` asks for. */
export interface NetworkRequest {
  readonly name: string;
  /** "" is bridge. */
  readonly driver: string;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  /** Absent where none was given. */
  readonly scope?: "local";
  /** Nothing is made but a record that other networks take their settings from. */
  readonly configOnly?: true;
  /** The configuration whose settings it has: it says none itself then. */
  readonly configFrom?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly ipam: {
    readonly driver: string;
    readonly options: Readonly<Record<string, string>>;
    /** "" is "choose one". */
    readonly pools: readonly {
      readonly subnet: string;
      readonly gateway: string;
      readonly ipRange: string;
      readonly auxiliary: Readonly<Record<string, string>>;
    }[];
  };
}

/** What a container asks of one network; what is absent is left to the engine. */
export interface EndpointRequest {
  /** Name or id. */
  readonly network: string;
  readonly aliases?: readonly string[];
  /** `container` or `container:alias`. */
  readonly links?: readonly string[];
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly linkLocal?: readonly string[];
  readonly macAddress?: string;
  readonly driverOptions?: Readonly<Record<string, string>>;
  /** The default route goes to the network where it is greatest. */
  readonly gatewayPriority?: number;
}

/** One container in one network, as recorded. */
export interface Endpoint {
  readonly id: string;
  readonly networkId: string;
  readonly networkName: string;
  readonly containerId: string;
  readonly link: BridgeEndpoint;
  readonly request: EndpointRequest;
  /** What the container is called in this network: its name, aliases, short id, host name. None on the default bridge. */
  readonly dnsNames: readonly string[];
}

/** Reserves and releases host ports; the supervisor does it, wired by the daemon. */
export interface PortHolder {
  reserve(request: {
    id: string;
    ports: readonly PortRequest[];
    target: string | null;
    /** Families that no rule leads: all of their ports are relayed. */
    unruled?: readonly AddressPool["family"][];
  }): Promise<PortBinding[]>;
  release(id: string): Promise<void>;
  /** Who holds what, for start-up; without it nothing is compared. */
  list?(): Promise<readonly { readonly id: string; readonly ports: readonly PortBinding[] }[]>;
}

/** Whose endpoint it is. */
export interface EndpointOwner {
  readonly containerId: string;
  readonly containerName?: string;
  readonly hostname?: string;
}

/** A network more for a container that runs as `pid`. */
export interface ConnectRequest {
  readonly owner: EndpointOwner;
  readonly pid: number;
  readonly endpoint: EndpointRequest;
  /** All that the container wants to publish. */
  readonly ports: readonly PortRequest[];
  /** Shares the transaction; `unrecord` takes it back when the link could not be made. */
  readonly record?: () => void;
  readonly unrecord?: () => void;
}

export interface DisconnectRequest extends Omit<ConnectRequest, "endpoint" | "unrecord"> {
  readonly networkId: string;
}

/** One endpoint that came or went, and the container's ports as they are now. */
export interface Connected {
  readonly endpoint: Endpoint;
  readonly ports: readonly PortBinding[];
}

/** Who may have addresses and ports, at the moment of asking: containers start while it is asked. */
export type NetworkHolders = Pick<ReadonlySet<string>, "has"> & Iterable<string>;

export interface NetworkService {
  /** Makes or repairs the default bridge, forwarding and the firewall table; idempotent, run at daemon start. */
  ensure(): Promise<void>;
  list(): Network[];
  /** Removes the users' networks that no running container is in and that `isMeant`. @returns their names */
  prune(isMeant: (network: Network) => boolean): Promise<string[]>;
  /** Makes a network. @throws EngineError in Docker's words */
  create(request: NetworkRequest): Promise<Network>;
  /**
   * @param nameOf what a container is called, for the sentence of the refusal
   * @throws EngineError "forbidden" while containers are in it
   */
  remove(nameOrId: string, nameOf?: (containerId: string) => string): Promise<Network>;
  /** By name, id or unique prefix. @throws EngineError "notFound": `network x not found` */
  resolve(nameOrId: string): Network;
  endpointsOf(containerId: string): Endpoint[];
  /** What the only link of a container in these will be like, as far as it can be told before. @throws EngineError */
  expectedLink(networks: readonly EndpointRequest[]): LinkKind | null;
  /** Containers with an endpoint in this network, for inspect. */
  endpointsIn(networkId: string): Endpoint[];
  /**
   * Reserves address, link name and host ports of a container that is about to start, recorded before anything is
   * made. The link is made by the supervisor at birth; `publish` opens the ports.
   * @throws EngineError in Docker's words: `… bind for 0.0.0.0:80 failed: port is already allocated`
   */
  attach(request: {
    containerId: string;
    /** For the sentences of errors; the short id stands in. */
    containerName?: string;
    hostname?: string;
    networks: readonly EndpointRequest[];
    ports: readonly PortRequest[];
  }): Promise<{ attachment: NetworkAttachment; endpoints: Endpoint[]; ports: PortBinding[] }>;
  /** A wish as it would be checked at the start. @throws EngineError in Docker's words */
  check(request: EndpointRequest): Network;
  /** @throws EngineError in Docker's words; nothing has changed then */
  connect(request: ConnectRequest): Promise<Connected>;
  disconnect(request: DisconnectRequest): Promise<Connected>;
  /** The container is called otherwise now: in its networks' names too. */
  rename(owner: EndpointOwner): void;
  /** The host ports that are recorded for a container, running or not: those it has, or had when a crash came. */
  portsOf(containerId: string): PortBinding[];
  /** Adds the container's ports to the firewall's maps. */
  publish(containerId: string, ports: readonly PortBinding[]): Promise<void>;
  /** Gives everything back: map elements, ports, link, address. May run twice; also after a crash. */
  release(containerId: string): Promise<void>;
  /**
   * Start-up, and a supervisor that was born again: whatever is recorded or present for containers not in `alive` is released.
   * @param pidOf a living process of a container, for links that a crash left unmade
   */
  reconcile(alive: NetworkHolders, pidOf?: (containerId: string) => number | null): Promise<void>;
}
