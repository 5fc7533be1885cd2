/** Networks and ports in the JSON of Docker's Engine API 1.51. Field names are the wire's. */

/** A published address: the port is decimal text, "" lets the engine choose. */
export interface PortBinding {
  HostIp: string;
  HostPort: string;
}

/** By `80/tcp`; null: exposed, not published. */
export type PortMap = Record<string, PortBinding[] | null>;

/** One container in one network. */
export interface EndpointSettings {
  IPAMConfig: {
    IPv4Address?: string;
    IPv6Address?: string;
    LinkLocalIPs?: string[] | null;
  } | null;
  Links: string[] | null;
  Aliases: string[] | null;
  MacAddress: string;
  DriverOpts: Record<string, string> | null;
  GwPriority: number;
  NetworkID: string;
  EndpointID: string;
  Gateway: string;
  IPAddress: string;
  IPPrefixLen: number;
  IPv6Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
  DNSNames: string[] | null;
}

export interface IpamPool {
  Subnet?: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string> | null;
}

/** `POST /networks/create`. */
export interface NetworkCreateRequest {
  Name: string;
  /** Without meaning since API 1.44: names are always unique. */
  CheckDuplicate: boolean;
  Driver: string;
  Scope: string;
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigOnly: boolean;
  ConfigFrom: { Network?: string } | null;
  IPAM: {
    Driver?: string;
    Config?: IpamPool[] | null;
    Options?: Record<string, string> | null;
  } | null;
  EnableIPv4: boolean | null;
  EnableIPv6: boolean | null;
  Options: Record<string, string> | null;
  Labels: Record<string, string> | null;
}

export interface NetworkConnectRequest {
  Container: string;
  EndpointConfig: Partial<EndpointSettings> | null;
}

export interface NetworkDisconnectRequest {
  Container: string;
  Force: boolean;
}

/** `GET /networks/{id}`, and one element of `GET /networks` (there without containers). */
export interface NetworkInspect {
  Name: string;
  Id: string;
  Created: string;
  Scope: "local" | "global" | "swarm";
  Driver: string;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  IPAM: {
    Driver: string;
    Options: Record<string, string> | null;
    Config: IpamPool[];
  };
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Containers: Record<
    string,
    {
      Name: string;
      EndpointID: string;
      MacAddress: string;
      IPv4Address: string;
      IPv6Address: string;
    }
  >;
  Options: Record<string, string>;
  Labels: Record<string, string>;
}
