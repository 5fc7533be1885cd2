/** The shapes of what clients send about networks. */
import type {
  IpamPool,
  NetworkConnectRequest,
  NetworkCreateRequest,
  NetworkDisconnectRequest,
} from "#wire/docker";

import { endpointSettings, LABELS, struct } from "./create-shape.ts";

const ipamPool = struct<IpamPool>("IPAMConfig", {
  Subnet: "string",
  IPRange: "string",
  Gateway: "string",
  AuxiliaryAddresses: LABELS,
});

/** The body of `POST /networks/create`. */
export const networkCreateShape = struct<NetworkCreateRequest>("CreateRequest", {
  Name: "string",
  CheckDuplicate: "bool",
  Driver: "string",
  Scope: "string",
  Internal: "bool",
  Attachable: "bool",
  Ingress: "bool",
  ConfigOnly: "bool",
  ConfigFrom: { struct: "ConfigReference", fields: { Network: "string" } },
  IPAM: {
    struct: "IPAM",
    fields: { Driver: "string", Config: { list: ipamPool }, Options: LABELS },
  },
  EnableIPv4: "bool",
  EnableIPv6: "bool",
  Options: LABELS,
  Labels: LABELS,
});

/** The body of `POST /networks/{id}/connect`. */
export const networkConnectShape = struct<NetworkConnectRequest>("ConnectRequest", {
  Container: "string",
  EndpointConfig: endpointSettings,
});

/** The body of `POST /networks/{id}/disconnect`. */
export const networkDisconnectShape = struct<NetworkDisconnectRequest>("DisconnectRequest", {
  Container: "string",
  Force: "bool",
});
