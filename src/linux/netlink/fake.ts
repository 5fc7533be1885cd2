/** A Netlink without a kernel: keeps what it is told, and the list of calls, for tests of other rooms. */
import type {
  Family,
  Link,
  LinkAddress,
  LinkChanges,
  LinkRate,
  Netlink,
  NewLink,
  NewLinkCommon,
  Route,
} from "./netlink.ts";
import { NetlinkError } from "./socket.ts";

const ENODEV = 19;
const EEXIST = 17;

export class RecordingNetlink implements Netlink {
  /** Every change asked for, in order: `["setLink", "naru0", { up: true }]`. */
  readonly calls: (readonly unknown[])[] = [];
  readonly #links = new Map<string, Link>();
  readonly #limits = new Map<string, number>();
  readonly #redirects = new Map<string, string>();
  #addresses: LinkAddress[] = [];
  #routes: Route[] = [];
  #nextIndex = 1;

  batch(work: () => void): void {
    work();
  }

  addLink(link: NewLink): void {
    this.calls.push(["addLink", link]);
    if (this.#links.has(link.name)) throw new NetlinkError("link add", link.name, EEXIST, null);
    const master = link.kind === "veth" && link.master ? this.#known(link.master).index : null;
    this.#add(link, link.kind, master);
    if (link.kind === "veth" && !link.peer.namespace) this.#add(link.peer, "veth", null);
  }

  setLink(name: string, changes: LinkChanges): void {
    this.calls.push(["setLink", name, changes]);
    const { up, mtu, macAddress } = changes;
    const link = this.#known(name);
    const master = typeof changes.master === "string" ? this.#known(changes.master).index : null;
    this.#links.delete(name);
    this.#links.set(changes.name ?? name, {
      ...link,
      name: changes.name ?? name,
      ...(up === undefined ? {} : { up }),
      ...(mtu === undefined ? {} : { mtu }),
      ...(macAddress === undefined ? {} : { macAddress }),
      ...(changes.master === undefined ? {} : { master }),
      ...(changes.alias === undefined ? {} : { alias: changes.alias }),
    });
  }

  deleteLink(name: string): boolean {
    this.calls.push(["deleteLink", name]);
    this.#addresses = this.#addresses.filter(({ link }) => link !== name);
    this.#limits.delete(name);
    this.#redirects.delete(name);
    return this.#links.delete(name);
  }

  deleteLinks(names: readonly string[]): void {
    for (const name of names) this.deleteLink(name);
  }

  getLink(name: string): Link | null {
    return this.#links.get(name) ?? null;
  }

  settleLink(name: string): void {
    this.calls.push(["settleLink", name]);
    this.#known(name);
  }

  limitLink(name: string, rate: LinkRate): void {
    this.calls.push(["limitLink", name, rate]);
    this.#known(name);
    this.#limits.set(name, rate.bytesPerSecond);
  }

  listLimits(): Map<string, number> {
    return new Map([...this.#limits].filter(([name]) => this.#links.has(name)));
  }

  redirectArrivals(name: string, target: string): void {
    this.calls.push(["redirectArrivals", name, target]);
    for (const link of [name, target]) this.#known(link);
    this.#redirects.set(name, target);
  }

  isRedirected(name: string, target: string): boolean {
    return this.#redirects.get(name) === target && this.#links.has(name) && this.#links.has(target);
  }

  listLinks(): Link[] {
    return [...this.#links.values()];
  }

  addAddress(address: LinkAddress): void {
    this.calls.push(["addAddress", address]);
    this.#known(address.link);
    this.#addresses.push(address);
  }

  deleteAddress(address: LinkAddress): void {
    this.calls.push(["deleteAddress", address]);
    this.#addresses = this.#addresses.filter(
      (other) => other.link !== address.link || other.address !== address.address,
    );
  }

  listAddresses(family: Family = "ipv4"): LinkAddress[] {
    return this.#addresses.filter(({ address }) => isOf(family, address));
  }

  addRoute(route: Route & { readonly link: string }): void {
    this.calls.push(["addRoute", route]);
    this.#known(route.link);
    this.#routes.push(route);
  }

  deleteRoute(route: Route & { readonly link: string }): boolean {
    this.calls.push(["deleteRoute", route]);
    const before = this.#routes.length;
    this.#routes = this.#routes.filter(
      ({ link, gateway, destination }) =>
        link !== route.link || gateway !== route.gateway || destination !== route.destination,
    );
    return this.#routes.length < before;
  }

  listRoutes(family: Family = "ipv4"): Route[] {
    return this.#routes.filter(({ destination, gateway }) =>
      isOf(family, destination?.address ?? gateway ?? ""),
    );
  }

  [Symbol.dispose](): void {
    this.calls.push(["dispose"]);
  }

  #add({ name, macAddress, mtu }: NewLinkCommon, kind: string, master: number | null): void {
    const index = this.#nextIndex;
    this.#nextIndex += 1;
    this.#links.set(name, {
      index,
      name,
      kind,
      macAddress: macAddress ?? null,
      mtu: mtu ?? 1500,
      up: false,
      master,
      alias: null,
    });
  }

  #known(name: string): Link {
    const link = this.#links.get(name);
    if (!link) throw new NetlinkError("link get", name, ENODEV, null);
    return link;
  }
}

const isOf = (family: Family, address: string): boolean =>
  address.includes(":") === (family === "ipv6");
