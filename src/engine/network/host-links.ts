/**
 * Containers' links as the host sees them: what is on record is there as recorded, what is not is gone. A link dies
 * with its container's namespace, by the kernel; what the kernel leaves, or another program changed, is found here.
 */
import type { Link, Netlink } from "#linux/netlink";

import { linkPrefixOfEngine } from "./bridge/user-links.ts";
import type { AddressHolder, NetworkRecords } from "./records.ts";
import { isQueue, queueOf, restoreLimits } from "./sandbox/limits.ts";
import { SPARE_PREFIX } from "./sandbox/spares.ts";

const LINK_PREFIX = "naru";

export class HostLinks {
  readonly #records: NetworkRecords;
  readonly #netlink: Netlink;
  readonly #bridge: string;

  /** @param request.bridge the default one */
  constructor(request: { records: NetworkRecords; netlink: Netlink; bridge: string }) {
    this.#records = request.records;
    this.#netlink = request.netlink;
    this.#bridge = request.bridge;
  }

  /**
   * Frees the addresses of containers that ended, when their links are gone; what is left of those is deleted, all at
   * once. @returns how many addresses became free
   */
  reap(): number {
    const leaving = this.#records.leavingLinks();
    if (leaving.length === 0) return 0;
    const present = leaving
      .flatMap(({ hostLink, hasQueue }) => (hasQueue ? [hostLink, queueOf(hostLink)] : [hostLink]))
      .filter((name) => this.#netlink.getLink(name) !== null);
    if (present.length > 0) this.#netlink.deleteLinks(present);
    const gone = leaving.map(({ hostLink }) => hostLink);
    this.#records.transactInUse(() => this.#records.forgetLinks(gone));
    return leaving.length;
  }

  /**
   * Frees the address of a container that ended, when its link is gone.
   * @param again it is that container which starts again: what is left of its link is deleted, which takes 20 ms
   */
  vacate({ hostLink, hasQueue }: AddressHolder, again: boolean): boolean {
    const names = hasQueue ? [hostLink, queueOf(hostLink)] : [hostLink];
    const present = names.filter((name) => this.#netlink.getLink(name) !== null);
    if (present.length > 0 && !again) return false;
    if (present.length > 0) this.#netlink.deleteLinks(present);
    this.#records.transactInUse(() => this.#records.forgetLinks([hostLink]));
    return true;
  }

  /** Before a network is forgotten, and with it who was in it: veths go with its bridge or by themselves, queues do not. */
  removeQueues(networkId: string): void {
    const names = this.#records
      .leavingLinks()
      .filter((one) => one.hasQueue && one.networkId === networkId)
      .map(({ hostLink }) => queueOf(hostLink));
    if (names.length > 0) this.#netlink.deleteLinks(names);
  }

  /** Ports of our bridge, and queues of ours, that no record knows: the records are older than they, or were lost. */
  removeStrangers(): void {
    const bridge = this.#netlink.getLink(this.#bridge);
    const links = this.#records.allEndpoints().map(({ link }) => link.hostLink);
    const known = new Set(links.flatMap((name) => [name, queueOf(name)]));
    const isPort = ({ kind, master, name }: Link) =>
      bridge !== null && kind === "veth" && master === bridge.index && isContainers(name);
    const strangers = this.#netlink
      .listLinks()
      .filter((link) => !known.has(link.name) && (isPort(link) || this.#isOwnQueue(link)))
      .map(({ name }) => name);
    if (strangers.length > 0) this.#netlink.deleteLinks(strangers);
  }

  /** Limits of bandwidth that another program took off are put back. @returns of how many links */
  restoreLimits(): number {
    const limited = this.#records.limitedEndpoints().map(({ link }) => link);
    return limited.length === 0 ? 0 : restoreLimits(this.#netlink, limited).length;
  }

  /** Another engine's queues are noted with another bridge. */
  #isOwnQueue(link: Link): boolean {
    if (!isQueue(link)) return false;
    const { alias } = link;
    return alias === this.#bridge || alias?.startsWith(linkPrefixOfEngine(this.#bridge)) === true;
  }
}

const isContainers = (name: string): boolean =>
  name.startsWith(LINK_PREFIX) && !name.startsWith(SPARE_PREFIX);
