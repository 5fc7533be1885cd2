/** The contract of the network room for the daemon: addresses, bridges, firewall and published ports. */
import type { BridgeEndpoint, NetworkAttachment, PortBinding, PortProtocol } from "./endpoint.ts";

/** What a container asks to publish; host port 0 is "choose one", a range is `hostPort`..`hostPortEnd`. */
export interface PortRequest {
  readonly protocol: PortProtocol;
  readonly containerPort: number;
  /** "" is every address of the host, IPv4 and IPv6. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly hostPortEnd?: number;
}

export interface Network {
  readonly id: string;
  /** "bridge", "host", "none" or a user's name. */
  readonly name: string;
  readonly driver: "bridge" | "host" | "null";
  readonly createdAt: Date;
  /** `172.18.0.0/16` and its gateway; null for host and none. */
  readonly subnet: string | null;
  readonly gateway: string | null;
  /** The host's link: `naru0`. */
  readonly bridge: string | null;
  readonly mtu: number;
}

/** One container in one network, as recorded. */
export interface Endpoint {
  readonly id: string;
  readonly networkId: string;
  readonly networkName: string;
  readonly containerId: string;
  readonly link: BridgeEndpoint;
}

/** Reserves and releases host ports; the supervisor does it, wired by the daemon. */
export interface PortHolder {
  reserve(request: {
    id: string;
    ports: readonly PortRequest[];
    target: string | null;
  }): Promise<PortBinding[]>;
  release(id: string): Promise<void>;
  /** Who holds what, for start-up; without it nothing is compared. */
  list?(): Promise<readonly { readonly id: string; readonly ports: readonly PortBinding[] }[]>;
}

export interface NetworkService {
  /** Makes or repairs the default bridge, forwarding and the firewall table; idempotent, run at daemon start. */
  ensure(): Promise<void>;
  list(): Network[];
  /** By name, id or unique prefix. @throws EngineError "notFound": `network x not found` */
  resolve(nameOrId: string): Network;
  endpointsOf(containerId: string): Endpoint[];
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
    /** Network names; ["bridge"] by default. */
    networks: readonly string[];
    macAddress?: string;
    ports: readonly PortRequest[];
  }): Promise<{ attachment: NetworkAttachment; endpoints: Endpoint[]; ports: PortBinding[] }>;
  /** Adds the container's ports to the firewall's maps. */
  publish(containerId: string, ports: readonly PortBinding[]): Promise<void>;
  /** Gives everything back: map elements, ports, link, address. May run twice; also after a crash. */
  release(containerId: string): Promise<void>;
  /** Start-up: whatever is recorded or present for containers not in `alive` is released. */
  reconcile(alive: ReadonlySet<string>): Promise<void>;
}
