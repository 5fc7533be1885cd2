/**
 * User namespaces as the supervisor handles them: writing their maps, and holding one of each map without a process
 * in it, since a mount shifts ids by a user namespace's maps.
 */
import { fchownSync, fstatSync, readFileSync, writeFileSync } from "node:fs";

import { internal } from "#base";
import { allocate, attempt } from "#linux/ffi";
import type { Identities } from "#linux/mount";
import { openNamespace } from "#linux/namespace";
import { isType, S_IFIFO } from "#linux/path";
import { waitPid } from "#linux/process";
import type { IdMapping, RuntimeSpec } from "#oci";

import { encodePlan } from "./encode.ts";
import { namespaceFlags } from "./facts.ts";
import { openPipes } from "./nursery.ts";
import { errnoOf, PlanWriter } from "./plan.ts";
import type { Trampoline } from "./trampoline.ts";

export interface IdMaps {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

/** What is prepared for a user namespace, where the container has one. */
export interface Shift {
  readonly maps: IdMaps;
  readonly identities: Identities;
}

/** More maps are not held at once; a daemon has one. */
const HELD_LIMIT = 8;
const SIGCHLD = 17n;

/** Null: the container has no user namespace. */
export function idMapsOf({ linux }: RuntimeSpec): IdMaps | null {
  const { uidMappings: uids, gidMappings: gids } = linux;
  return uids === undefined && gids === undefined ? null : { uids: uids ?? [], gids: gids ?? [] };
}

/** What the host calls an id of the container. @throws EngineError when the map lacks it */
export function hostIdOf(maps: readonly IdMapping[], id: number): number {
  for (const { containerID, hostID, size } of maps) {
    if (id >= containerID && id < containerID + size) return hostID + id - containerID;
  }
  throw internal(`Container ID ${id} cannot be mapped to a host ID`);
}

const textOf = (maps: readonly IdMapping[]): string =>
  maps.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");

/** Writes the maps of a process' new user namespace; both can be written once. @throws what the kernel refuses */
export function writeIdMaps(pid: number, { uids, gids }: IdMaps): void {
  writeFileSync(`/proc/${pid}/gid_map`, textOf(gids));
  writeFileSync(`/proc/${pid}/uid_map`, textOf(uids));
}

export class UserNamespaces implements Disposable {
  readonly #trampoline: Trampoline;
  readonly #held = new Map<string, number>();

  constructor(trampoline: Trampoline) {
    this.#trampoline = trampoline;
  }

  /** A user namespace with these maps: ours, not to be closed. @throws EngineError, SyscallError */
  descriptor(maps: IdMaps): number {
    const key = `${textOf(maps.uids)}:${textOf(maps.gids)}`;
    const held = this.#held.get(key);
    if (held !== undefined) return held;
    for (const [oldest, fd] of this.#held) {
      if (this.#held.size < HELD_LIMIT) break;
      this.#held.delete(oldest);
      attempt("close", fd);
    }
    const made = this.#make(maps);
    this.#held.set(key, made);
    return made;
  }

  /** What a birth with these maps is prepared with. @throws EngineError, SyscallError */
  shift(maps: IdMaps): Shift {
    const root = { uid: hostIdOf(maps.uids, 0), gid: hostIdOf(maps.gids, 0) };
    return { maps, identities: { userNamespaceFd: this.descriptor(maps), ...root } };
  }

  [Symbol.dispose](): void {
    for (const fd of this.#held.values()) attempt("close", fd);
    this.#held.clear();
  }

  #make(maps: IdMaps): number {
    using pipes = openPipes();
    const writer = new PlanWriter();
    const byte = { area: "go", sizeBytes: 8 };
    writer.call("close", [pipes.goWriter], "close the parent's end");
    writer.call("read", [pipes.goReader, byte, 1], "wait until the maps are written");
    writer.control("fail", [errnoOf("ECANCELED")], "the parent holds the namespace");
    const args = allocate(88);
    const view = new DataView(args.buffer);
    view.setBigUint64(0, BigInt(namespaceFlags.user), true);
    view.setBigUint64(32, SIGCHLD, true);
    const plan = encodePlan(writer.finish(), { slotBytes: 0 });
    const pid = this.#trampoline.clone({ arguments: args, plan, report: pipes.reportWriter });
    try {
      writeIdMaps(pid, maps);
      return openNamespace(pid, "user");
    } finally {
      attempt("write", pipes.goWriter, allocate(1), 1);
      waitPid(pid);
    }
  }
}

/** Streams that are FIFOs become a user's of the container: its root has no power over what the host's made. */
export function giveStreams(streams: readonly number[], { uids }: IdMaps, user: number): void {
  for (const fd of streams) {
    if (isType(fstatSync(fd).mode, S_IFIFO)) fchownSync(fd, hostIdOf(uids, user), -1);
  }
}

/** The maps that a live process is under; null: the engine's own. @throws when there is no such process */
export function readIdMaps(pid: number): IdMaps | null {
  const uids = readMap(pid, "uid_map");
  const own = uids.length === 1 && uids[0]?.containerID === 0 && uids[0].hostID === 0;
  return own ? null : { uids, gids: readMap(pid, "gid_map") };
}

const readMap = (pid: number, name: "uid_map" | "gid_map"): IdMapping[] =>
  readFileSync(`/proc/${pid}/${name}`, "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [containerID = 0, hostID = 0, size = 0] = line.trim().split(/\s+/).map(Number);
      return { containerID, hostID, size };
    });
