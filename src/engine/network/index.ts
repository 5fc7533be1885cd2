/**
 * Networks and endpoints. The daemon decides and records (`openNetworkService`); the supervisor builds links and
 * holds ports (`buildNetwork`, `removeLinks`, `PortReservations`), which need neither records nor firewall.
 */
export { isContainersAddress } from "./addresses/membership.ts";
export { bandwidthOptions, checkBandwidth } from "./bandwidth.ts";
export type { ContainerDns, DnsNetwork } from "./dns/container-dns.ts";
export { DnsServers } from "./dns/servers.ts";
export { checkCidr } from "./addresses/check.ts";
export type * from "./endpoint.ts";
export { dnsNamesOf } from "./endpoint-design.ts";
export type * from "./network-service.ts";
export { networkMigrations } from "./migrations.ts";
export { PortReservations } from "./ports/reservations.ts";
export { type BuildRequest, buildNetwork, removeLinks } from "./sandbox/build.ts";
export { isSpareFor, SpareNamespaces, type SpareNamespace } from "./sandbox/spares.ts";
export { type NetworkOptions, type NetworkServiceRequest, openNetworkService } from "./service.ts";
