/** What the supervisor needs of other rooms, as functions: `programs/supervisor.ts` hands over the real ones. */
import type { Deliveries } from "#engine/log-delivery";
import type {
  BridgeEndpoint,
  ContainerDns,
  LinkKind,
  NetworkAttachment,
  PortBinding,
  SpareNamespace,
} from "#engine/network";
import type { RuntimeDriver } from "#engine/runtime";

import type { Requests } from "./protocol.ts";

/** One container's cgroup; every method may be called when it is gone. */
export interface ContainerCgroup {
  oomKills(): number;
  /** The file that changes with each of them, and can be waited for; null where there is none: cgroups v1. */
  memoryEvents(): string | null;
  killAll(wait: { readonly timeoutMs: number }): Promise<void>;
  remove(wait: { readonly timeoutMs: number }): Promise<boolean>;
}

export interface PortHolding {
  reserve(
    request: Omit<Requests["reservePorts"]["request"], "type">,
  ): PortBinding[] | Promise<PortBinding[]>;
  release(id: string): void | Promise<void>;
  list(): readonly { readonly id: string; readonly ports: readonly PortBinding[] }[];
}

/** Names inside containers of user networks. */
export interface NameServing {
  /** Synchronous: called while the newborn waits. */
  open(id: string, request: { networkNamespace: number; dns: ContainerDns }): void;
  update(id: string, dns: ContainerDns): void;
  isOpen(id: string): boolean;
  /** One that is not open is no error. */
  close(id: string): void;
}

export interface SupervisorParts {
  /** @throws RuntimeError for a runtime that is not there */
  openDriver(runtime: string): RuntimeDriver;
  /** A network namespace made ahead that will do for this attachment, or for one with such a link; the taker's. */
  takeSpareNamespace(wanted: NetworkAttachment | LinkKind): SpareNamespace | null;
  /** Whether it will do for that. */
  isFor(spare: SpareNamespace, attachment: NetworkAttachment): boolean;
  /** Synchronous: called while the newborn waits. */
  buildNetwork(request: {
    readonly pid: number;
    readonly networkNamespace: number;
    readonly attachment: NetworkAttachment;
    readonly spare: SpareNamespace | null;
  }): void;
  /** Links that are not there are no error. */
  removeLinks(endpoints: readonly BridgeEndpoint[]): void | Promise<void>;
  readonly dns: NameServing;
  readonly ports: PortHolding;
  cgroup(path: string): ContainerCgroup;
  /** What containers print, on its way to log servers. */
  readonly deliveries: Deliveries;
  /** Ends what drivers keep beside this process: before another program takes its place. They open again on use. */
  closeDrivers(): void;
  log(level: "debug" | "info" | "warn" | "error", message: string): void;
}
