/** Who is called what in which network: the names of every living container. Memory only, made of what containers say. */
import { assert } from "#base";

import { addressBytes } from "../addresses/ip.ts";
import type { ContainerDns, DnsNetwork } from "./container-dns.ts";
import { type Answer, encodeName, type Query, TYPE } from "./packet.ts";

/** Addresses of one name that are told: what is sensible to try, and fits a datagram. */
const ANSWERS_LIMIT = 24;

interface Named {
  readonly containerId: string;
  readonly addresses: readonly string[];
}

interface NetworkNames {
  readonly byName: Map<string, Named[]>;
  /** Name of the container and of the network, by address. */
  readonly byAddress: Map<string, { readonly containerId: string; readonly name: string }>;
}

export class DnsNames {
  readonly #networks = new Map<string, NetworkNames>();
  readonly #containers = new Map<string, ContainerDns>();

  /** Replaces what was said of this container before. */
  set(containerId: string, dns: ContainerDns): void {
    this.delete(containerId);
    this.#containers.set(containerId, dns);
    for (const { id, name: networkName, names, addresses } of dns.networks) {
      const network = this.#networks.get(id) ?? { byName: new Map(), byAddress: new Map() };
      this.#networks.set(id, network);
      for (const name of new Set(names.map((each) => each.toLowerCase()))) {
        const all = network.byName.get(name) ?? [];
        all.push({ containerId, addresses });
        network.byName.set(name, all);
      }
      // What is too long for a name of DNS answers to questions of no one: its next name is told.
      const own = names.map((name) => `${name}.${networkName}`).find(isSayable);
      if (own === undefined) continue;
      for (const address of addresses) {
        network.byAddress.set(reverseName(address), { containerId, name: own });
      }
    }
  }

  delete(containerId: string): void {
    const dns = this.#containers.get(containerId);
    if (dns === undefined) return;
    this.#containers.delete(containerId);
    for (const { id, names, addresses } of dns.networks) {
      const network = this.#networks.get(id);
      if (network === undefined) continue;
      for (const name of new Set(names.map((each) => each.toLowerCase()))) {
        const others = (network.byName.get(name) ?? []).filter(
          (each) => each.containerId !== containerId,
        );
        if (others.length === 0) network.byName.delete(name);
        else network.byName.set(name, others);
      }
      for (const address of addresses.map(reverseName)) {
        // Somebody else may have it by now.
        if (network.byAddress.get(address)?.containerId === containerId) {
          network.byAddress.delete(address);
        }
      }
      if (network.byName.size === 0) this.#networks.delete(id);
    }
  }

  /** What a container is told from its networks; null when the name is none of theirs. Empty: no such record. */
  answer(containerId: string, { name, type, isInternet }: Query): Answer[] | null {
    const dns = this.#containers.get(containerId);
    if (dns === undefined || !isInternet || name === "") return null;
    for (const network of dns.networks) {
      const known = this.#networks.get(network.id);
      if (known === undefined) continue;
      if (name.endsWith(".arpa")) {
        const found = known.byAddress.get(name);
        if (found !== undefined) {
          return type === TYPE.ptr ? [{ type, data: encodeName(found.name) }] : [];
        }
        continue;
      }
      const addresses = addressesOf(known, network, name);
      if (addresses !== null) return addressAnswers(addresses, type);
    }
    return null;
  }
}

/** RFC 1035, 2.3.4: labels of 63 octets, names of 255. */
const isSayable = (name: string): boolean =>
  name.length <= 253 && name.split(".").every((label) => label.length <= 63);

/** By name, by `name.network`, or by what this container alone calls it. */
function addressesOf(
  { byName }: NetworkNames,
  { name: networkName, links }: DnsNetwork,
  asked: string,
): string[] | null {
  const suffix = `.${networkName.toLowerCase()}`;
  const bare = asked.endsWith(suffix) ? asked.slice(0, -suffix.length) : asked;
  const linked = Object.hasOwn(links, bare) ? (links[bare] ?? "").toLowerCase() : null;
  const named = (linked === null ? undefined : byName.get(linked)) ?? byName.get(bare);
  return named === undefined ? null : named.flatMap(({ addresses }) => addresses);
}

function addressAnswers(addresses: readonly string[], type: number): Answer[] {
  if (type !== TYPE.a && type !== TYPE.aaaa) return [];
  const wanted = addresses.filter((address) => address.includes(":") === (type === TYPE.aaaa));
  return shuffled(wanted)
    .slice(0, ANSWERS_LIMIT)
    .map((address) => ({ type, data: bytesOf(address) }));
}

/** Round robin without a memory: who shares an alias shares its clients. */
function shuffled<T>(items: readonly T[]): T[] {
  const all = [...items];
  for (let index = all.length - 1; index > 0; index -= 1) {
    const other = Math.floor(Math.random() * (index + 1));
    const [a, b] = [all[index], all[other]];
    if (a !== undefined && b !== undefined) [all[index], all[other]] = [b, a];
  }
  return all;
}

function bytesOf(address: string): Uint8Array {
  const bytes = addressBytes(address);
  assert(bytes !== null, "an endpoint's address is one");
  return bytes;
}

/** `2.0.18.172.in-addr.arpa`, or 32 digits of `ip6.arpa`. */
function reverseName(address: string): string {
  const bytes = bytesOf(address);
  if (bytes.length === 4) return `${[...bytes].reverse().join(".")}.in-addr.arpa`;
  const digits = Buffer.from(bytes).toString("hex").split("");
  return `${digits.reverse().join(".")}.ip6.arpa`;
}
