/**
 * Sockets that only hold a port: bound, never listening, without SO_REUSEADDR, so that the kernel refuses the
 * port to every other program and nobody can ever connect to ours. Source: socket(7), ipv6(7).
 */
import { allocate, attempt, errnoSentence } from "#linux/ffi";

import type { PortProtocol } from "../endpoint.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_SCTP = 132;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUF_SMALLEST = 1;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

const EPROTONOSUPPORT = 93;
const ESOCKTNOSUPPORT = 94;
const EAFNOSUPPORT = 97;
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;

export type HoldResult =
  | { readonly outcome: "held"; readonly fd: number }
  | { readonly outcome: "taken" }
  /** The host has no such protocol or family: nobody else can have the port either. */
  | { readonly outcome: "unsupported" }
  | { readonly outcome: "refused"; readonly reason: string };

/** Binds one port of one address; 0 as port is not for this: the choice is ours. */
export function holdPort(request: {
  readonly protocol: PortProtocol;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port: number;
}): HoldResult {
  const { protocol, address, port } = request;
  const family = address.length === 4 ? AF_INET : AF_INET6;
  const type = (protocol === "udp" ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
  const fd = attempt("socket", family, type, protocol === "sctp" ? IPPROTO_SCTP : 0);
  if (fd < 0) return failure(-fd);
  if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  // Datagrams that arrive before the firewall knows the port must not pile up.
  if (protocol === "udp") setOption(fd, SOL_SOCKET, SO_RCVBUF, SO_RCVBUF_SMALLEST);
  const name = socketAddress(family, address, port);
  const result = attempt("bind", fd, name, name.length);
  if (result >= 0) return { outcome: "held", fd };
  closePort(fd);
  return failure(-result);
}

export const closePort = (fd: number): void => void attempt("close", fd);

/** True when a socket of the IPv6 family can be made. */
export function hasIpv6(): boolean {
  const fd = attempt("socket", AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const name = socketAddress(AF_INET6, new Uint8Array(16), 0);
  // `ipv6.disable=1` leaves the family and takes every address.
  const usable = attempt("bind", fd, name, name.length) >= 0;
  closePort(fd);
  return usable;
}

function failure(errno: number): HoldResult {
  switch (errno) {
    case EADDRINUSE:
      return { outcome: "taken" };
    case EPROTONOSUPPORT:
    case ESOCKTNOSUPPORT:
    case EAFNOSUPPORT:
      return { outcome: "unsupported" };
    case EADDRNOTAVAIL:
    default:
      return { outcome: "refused", reason: errnoSentence(errno) };
  }
}

function setOption(fd: number, level: number, option: number, value: number): void {
  const bytes = allocate(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  attempt("setsockopt", fd, level, option, bytes, bytes.length);
}

/** struct sockaddr_in or sockaddr_in6: family in the machine's order, port in the network's. */
function socketAddress(family: number, address: Uint8Array, port: number): Uint8Array {
  const ipv4 = family === AF_INET;
  const bytes = allocate(ipv4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port, false);
  bytes.set(address, ipv4 ? 4 : 8);
  return bytes;
}
