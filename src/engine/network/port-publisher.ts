/** Host ports of containers: held by the supervisor, recorded, and led to the container by the firewall. */
import { invalid, sentenceOf, shortId, wrap } from "#base";
import { deleteConnections, type Family, IPPROTO_UDP } from "#linux/netlink";

import type { PortBinding } from "./endpoint.ts";
import type { Firewall } from "./firewall/firewall.ts";
import type { EndpointOwner, NetworkHolders, PortHolder, PortRequest } from "./network-service.ts";
import { directPorts, type PortTarget, publishedOf } from "./publishing.ts";
import type { NetworkRecords, NewEndpoint, PublishedPort } from "./records.ts";

export class PortPublisher {
  readonly #records: NetworkRecords;
  readonly #firewall: Firewall;
  readonly #portHolder: PortHolder;
  readonly #warn: (message: string) => void;
  readonly #unruled: readonly Family[];

  constructor(request: {
    records: NetworkRecords;
    firewall: Firewall;
    portHolder: PortHolder;
    warn: (message: string) => void;
    unruled: readonly Family[];
  }) {
    this.#unruled = request.unruled;
    this.#records = request.records;
    this.#firewall = request.firewall;
    this.#portHolder = request.portHolder;
    this.#warn = request.warn;
  }

  /** Host ports, and those that are open at the container's own address. */
  async reserve(
    endpoints: readonly NewEndpoint[],
    target: PortTarget,
    {
      containerId,
      containerName,
      ports,
    }: EndpointOwner & { readonly ports: readonly PortRequest[] },
  ): Promise<PortBinding[]> {
    const asked = target.wanted(ports);
    const direct = directPorts(ports, target);
    if (asked.length === 0) return direct;
    if (this.#unruled.length > 0 && asked.some(({ protocol }) => protocol === "sctp")) {
      throw invalid("ports of SCTP need the firewall: they cannot be relayed");
    }
    try {
      const bound = await this.#portHolder.reserve({
        id: containerId,
        ports: asked,
        target: target.relay ? (target.ipv4 ?? target.ipv6) : null,
        ...this.#relayed(),
      });
      return [...bound, ...direct];
    } catch (cause) {
      const name = containerName ?? shortId(containerId);
      const id = endpoints.find(({ networkId }) => networkId === target.networkId)?.id ?? "";
      throw wrap(
        `driver failed programming external connectivity on endpoint ${name} (${id})`,
        cause,
      );
    }
  }

  /** The container's default route has moved, or may have: its ports follow. */
  async publishAnew(
    owner: EndpointOwner,
    asked: readonly PortRequest[],
    target: PortTarget | null,
  ): Promise<PortBinding[]> {
    const { containerId } = owner;
    const before = this.#records.bindingsOf(containerId);
    if (asked.length === 0 && before.length === 0) return [];
    const isHeld = before.some(({ target: to }) => to === target?.ipv4 || to === target?.ipv6);
    if (target !== null && isHeld) return before.map(bindingOf);
    // The ports that the host gave stay the same, as far as they are of the host.
    const kept = before.filter(({ hostAddress, target: to }) => hostAddress !== to);
    const wanted = kept.length > 0 ? kept.map(bindingOf) : asked;
    const bound =
      target === null ? [] : await this.reserve([], target, { ...owner, ports: wanted });
    this.#records.transactInUse(() => {
      this.#records.removeBindings(containerId);
      if (target) this.#records.addBindings(publishedOf(containerId, target, bound));
    });
    this.#firewall.unpublish(before);
    if (target === null) await this.#portHolder.release(containerId);
    this.#firewall.publish(this.#records.bindingsOf(containerId));
    this.flushUdp(before);
    return bound;
  }

  /** The supervisor may hold ports of nobody, or, started anew, none of those it should. */
  async reconcile(alive: NetworkHolders): Promise<void> {
    // Of those alone it can be said what should be held by now.
    const recorded = Array.from(alive, (id) => [id, this.#records.bindingsOf(id)] as const);
    const holders = await this.#portHolder.list?.();
    if (!holders) return;
    const held = new Set(holders.map(({ id }) => id));
    for (const id of held) if (!alive.has(id)) await this.#portHolder.release(id);
    for (const [id, ports] of recorded) {
      if (ports.length > 0 && !held.has(id) && alive.has(id)) await this.#reserveAgain(id, ports);
    }
  }

  #relayed() {
    return this.#unruled.length === 0 ? {} : { unruled: this.#unruled };
  }

  async #reserveAgain(id: string, ports: readonly PublishedPort[]): Promise<void> {
    const target = ports[0]?.target ?? null;
    try {
      await this.#portHolder.reserve({ id, ports, target, ...this.#relayed() });
    } catch (thrown) {
      // The container runs and is reachable by the firewall: tell, but keep it.
      this.#warn(`the ports of ${shortId(id)} are no longer reserved: ${sentenceOf(thrown)}`);
    }
  }

  /** Clients that keep sending would go on reaching the former target (moby #44742). */
  flushUdp(ports: readonly PublishedPort[]): void {
    const udp = ports.filter(({ protocol }) => protocol === "udp");
    if (udp.length === 0) return;
    const destinationPorts = new Set(udp.map(({ hostPort }) => hostPort));
    try {
      deleteConnections({ protocol: IPPROTO_UDP, destinationPorts });
    } catch (thrown) {
      this.#warn(`old UDP connections stay: ${sentenceOf(thrown)}`);
    }
  }
}

/** Without what only this room is to know. */
export const bindingOf = ({ protocol, containerPort, hostAddress, hostPort }: PortBinding) => ({
  protocol,
  containerPort,
  hostAddress,
  hostPort,
});
