/**
 * Host ports held for containers, in the supervisor: they stay held while the daemon is away.
 *
 * An IPv4 port is a bound socket that never listens (the firewall takes the packets before they reach it); an
 * IPv6 port is the relay that serves it. A clash, with a container or with any program of the host, is an
 * error here, before the container starts. Sentences are Docker's own.
 */
import { EngineError, internal, invalid } from "#base";

import { addressBytes } from "../addresses/ip.ts";
import type { PortBinding } from "../endpoint.ts";
import type { PortRequest } from "../network-service.ts";
import { closePort, hasIpv6, holdPort } from "./host-socket.ts";
import { errorCode, type Relay } from "./relay.ts";

/** Where Docker looks for a port when none is asked for: Linux' own ephemeral range. */
const EPHEMERAL_FIRST = 32_768;
const EPHEMERAL_LAST = 60_999;
const HIGHEST_PORT = 65_535;
/** Published ports of one container: a range of more is a mistake, or an attack on our descriptors. */
const PORTS_LIMIT = 16_384;

/**
 * A child between its clone and its execve has copies of all our sockets, and on a busy machine that may take a while: a
 * port that was just given back is waited for.
 */
const RECENT_MS = 5_000;
const LINGER_LIMIT_MS = 3_000;
const LINGER_LOOK_MS = 10;
const RECENT_PORTS_LIMIT = 1_024;

const ANY_IPV4 = "0.0.0.0";
const ANY_IPV6 = "::";

interface Held extends PortBinding {
  release(): void;
}

/** The firewall translates no family into the other, and nothing that came for ::1. */
const needsRelay = (address: Uint8Array, { target, unruled }: Leading): boolean =>
  address.length === 16 || target?.includes(":") === true || unruled.includes("ipv4");

/** Where ports lead to, and the families that no rule of the firewall leads there. */
interface Leading {
  readonly target: string | null;
  readonly unruled: readonly ("ipv4" | "ipv6")[];
}

/** Why one host port could not be had; the next port of a range may be free all the same. */
class PortTaken extends EngineError {}
/** By no container: by some program, or by a copy of a socket of ours. */
class PortInUse extends PortTaken {}

export class PortReservations {
  readonly #held = new Map<string, Held[]>();
  /** When a port was given back: the newest are at the end. */
  readonly #released = new Map<number, number>();
  #nextEphemeral = EPHEMERAL_FIRST;
  #ipv6: boolean | undefined;

  /**
   * Holds all ports of a container, or none. What the same id held before is let go first.
   * @param request.target the container's IPv4 address, for relays
   * @throws EngineError: `Bind for 0.0.0.0:80 failed: port is already allocated`
   */
  async reserve(request: {
    id: string;
    ports: readonly PortRequest[];
    target: string | null;
    unruled?: readonly ("ipv4" | "ipv6")[];
  }): Promise<PortBinding[]> {
    const { id, ports, target, unruled = [] } = request;
    if (ports.length > PORTS_LIMIT) throw invalid(`more than ${PORTS_LIMIT} published ports`);
    this.release(id);
    const held: Held[] = [];
    // In the map from the start: a second reservation must see the first while it waits.
    this.#held.set(id, held);
    try {
      for (const port of ports) await this.#reservePort(held, port, { target, unruled });
      // A release, or a newer reservation of the id, came in between.
      if (this.#held.get(id) !== held) throw internal(`the ports of ${id} were released`);
    } catch (thrown) {
      for (const one of held.splice(0)) one.release();
      if (this.#held.get(id) === held) this.#held.delete(id);
      throw thrown;
    }
    if (held.length === 0) this.#held.delete(id);
    return held.map(bindingOf);
  }

  /** Lets a container's ports go; relayed connections are cut. May run twice. */
  release(id: string): void {
    const held = this.#held.get(id);
    this.#held.delete(id);
    for (const one of held?.splice(0) ?? []) {
      one.release();
      this.#noteReleased(one.hostPort);
    }
  }

  #noteReleased(hostPort: number): void {
    this.#released.delete(hostPort);
    this.#released.set(hostPort, performance.now());
    if (this.#released.size <= RECENT_PORTS_LIMIT) return;
    for (const [oldest] of this.#released) return void this.#released.delete(oldest);
  }

  /** Who holds what. */
  list(): { id: string; ports: PortBinding[] }[] {
    return Array.from(this.#held, ([id, held]) => ({ id, ports: held.map(bindingOf) }));
  }

  async #reservePort(held: Held[], port: PortRequest, leading: Leading): Promise<void> {
    const end = performance.now() + LINGER_LIMIT_MS;
    const since = performance.now() - RECENT_MS;
    const isRecent = (this.#released.get(port.hostPort) ?? Number.NEGATIVE_INFINITY) > since;
    const { hostPortEnd = port.hostPort } = port;
    for (;;) {
      try {
        return await this.#reserveNow(held, port, leading);
      } catch (thrown) {
        const mayLinger = isRecent && hostPortEnd === port.hostPort && thrown instanceof PortInUse;
        if (!mayLinger || performance.now() > end) throw thrown;
        await Bun.sleep(LINGER_LOOK_MS);
      }
    }
  }

  async #reserveNow(held: Held[], port: PortRequest, leading: Leading): Promise<void> {
    const addresses = this.#addressesOf(port.hostAddress);
    let refusal: PortTaken | null = null;
    for (const hostPort of this.#candidates(port)) {
      try {
        held.push(...(await this.#holdAll({ ...port, hostPort }, addresses, leading)));
        if (port.hostPort === 0) this.#nextEphemeral = after(hostPort);
        return;
      } catch (thrown) {
        if (!(thrown instanceof PortTaken)) throw thrown;
        refusal = thrown;
      }
    }
    if (port.hostPort !== 0 && refusal) throw refusal;
    throw internal("all ports are allocated");
  }

  /** One port on every address, or on none. */
  async #holdAll(
    port: PortRequest,
    addresses: readonly string[],
    leading: Leading,
  ): Promise<Held[]> {
    const got: Held[] = [];
    try {
      for (const hostAddress of addresses) {
        const binding = { ...bindingOf(port), hostAddress };
        if (this.#isHeld(binding)) throw allocated(binding);
        const release = await this.#hold(binding, leading);
        if (release) got.push({ ...binding, release });
      }
      return got;
    } catch (thrown) {
      for (const one of got) one.release();
      throw thrown;
    }
  }

  /** @returns how to let go; null where the host has no such family */
  async #hold(binding: PortBinding, leading: Leading): Promise<(() => void) | null> {
    const { target } = leading;
    const { protocol, hostAddress, hostPort } = binding;
    const address = parsed(hostAddress);
    if (needsRelay(address, leading) && target !== null && protocol !== "sctp") {
      const relay = await openRelay(binding, target);
      return () => relay.close();
    }
    const result = holdPort({ protocol, address, port: hostPort });
    switch (result.outcome) {
      case "held":
        return () => closePort(result.fd);
      case "unsupported":
        // Nobody can have a port of a protocol that the host lacks; of a family it lacks there is none.
        return address.length === 4 ? () => undefined : null;
      case "taken":
        throw inUse(binding, target);
      case "refused":
        throw internal(bindSentence(binding, target, result.reason));
    }
  }

  #addressesOf(hostAddress: string): string[] {
    if (hostAddress !== "") {
      parsed(hostAddress);
      return [hostAddress];
    }
    this.#ipv6 ??= hasIpv6();
    return this.#ipv6 ? [ANY_IPV4, ANY_IPV6] : [ANY_IPV4];
  }

  *#candidates({ hostPort, hostPortEnd }: PortRequest): Generator<number> {
    const last = hostPortEnd ?? hostPort;
    if (!(hostPort >= 0 && last >= hostPort && last <= HIGHEST_PORT)) {
      throw invalid(`invalid port range ${hostPort}-${last}`);
    }
    if (hostPort !== 0) {
      for (let port = hostPort; port <= last; port += 1) yield port;
      return;
    }
    let port = this.#nextEphemeral;
    for (let turn = EPHEMERAL_FIRST; turn <= EPHEMERAL_LAST; turn += 1) {
      yield port;
      port = after(port);
    }
  }

  #isHeld(wanted: PortBinding): boolean {
    for (const held of this.#held.values()) {
      if (held.some((one) => clash(one, wanted))) return true;
    }
    return false;
  }
}

const after = (port: number): number => (port >= EPHEMERAL_LAST ? EPHEMERAL_FIRST : port + 1);

const bindingOf = ({
  protocol,
  containerPort,
  hostAddress,
  hostPort,
}: PortBinding): PortBinding => ({ protocol, containerPort, hostAddress, hostPort });

/** The same port of the same address, or one of them means every address of the family. */
function clash(one: PortBinding, other: PortBinding): boolean {
  if (one.hostPort !== other.hostPort || one.protocol !== other.protocol) return false;
  if (one.hostAddress.includes(":") !== other.hostAddress.includes(":")) return false;
  return [one, other].some(({ hostAddress }) => isAny(hostAddress)) || sameAddress(one, other);
}

const isAny = (address: string): boolean => parsed(address).every((byte) => byte === 0);

const sameAddress = (one: PortBinding, other: PortBinding): boolean =>
  parsed(one.hostAddress).toHex() === parsed(other.hostAddress).toHex();

function parsed(address: string): Uint8Array {
  const bytes = addressBytes(address);
  if (!bytes) throw invalid(`invalid IP address: ${address}`);
  return bytes;
}

async function openRelay(binding: PortBinding, target: string): Promise<Relay> {
  const { protocol, hostAddress, hostPort, containerPort } = binding;
  const request = { hostAddress, hostPort, targetAddress: target, targetPort: containerPort };
  try {
    if (protocol === "udp") {
      const { openUdpRelay } = await import("./udp-relay.ts");
      return await openUdpRelay(request);
    }
    const { openTcpRelay } = await import("./tcp-relay.ts");
    return openTcpRelay(request);
  } catch (thrown) {
    const code = errorCode(thrown);
    if (code === "EADDRINUSE") throw inUse(binding, target);
    if (code === "EADDRNOTAVAIL") {
      throw internal(bindSentence(binding, target, "cannot assign requested address"));
    }
    throw thrown;
  }
}

const shown = ({ hostAddress, hostPort }: PortBinding): string =>
  hostAddress.includes(":") ? `[${hostAddress}]:${hostPort}` : `${hostAddress}:${hostPort}`;

const allocated = (binding: PortBinding): PortTaken =>
  new PortTaken("internal", `Bind for ${shown(binding)} failed: port is already allocated`);

function bindSentence(binding: PortBinding, target: string | null, reason: string): string {
  const { containerPort, protocol } = binding;
  const towards = target === null ? "" : `:${target}:${containerPort}`;
  return `failed to bind host port for ${shown(binding)}${towards}/${protocol}: ${reason}`;
}

const inUse = (binding: PortBinding, target: string | null): PortInUse =>
  new PortInUse("internal", bindSentence(binding, target, "address already in use"));
