/**
 * `RUN --mount`: what is made on the host for a step, and taken away after it. Folders and mounts lie below
 * `<exec-root>/build/<step>`, scratch space below `<data-root>/build/scratch/<step>`; start-up clears both.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { invalid, newId } from "#base";
import type { RunMountRequest } from "#engine/build/dockerfile";
import { RootTree, type SourceTree } from "#engine/build/source";
import type { MountRequest } from "#engine/container";
import { createDetachedOverlay, MNT_DETACH, moveMount, unmount } from "#linux/mount";
import { fillAside } from "#engine/volume";
import { FileDescriptor, O_DIRECTORY, O_PATH, openInRoot } from "#linux/path";
import { removeTree } from "#engine/snapshot";
import { type Digest, digestHex, digestOf } from "#oci";
import { bytesOf, rawOf, textOf } from "#wire/tar";

import type { Asked } from "./build-service.ts";
import type { Context } from "./context.ts";
import { relayAgent } from "./agent-relay.ts";
import { CopyPlan } from "./copy.ts";
import { InputDigest } from "./inputs.ts";
import { type Inputs, questionOf, recallInputs, rememberInputs } from "./layer-inputs.ts";
import type { FromFiles } from "./run.ts";
import type { StageBuilder } from "./stage-builder.ts";

/** Where a mount's source comes from. */
export type MountSource =
  | { readonly kind: "context"; readonly tree: SourceTree }
  | { readonly kind: "layers"; readonly layers: readonly Digest[]; readonly files: FromFiles };

const treeOf = async (source: MountSource): Promise<SourceTree> =>
  source.kind === "context" ? source.tree : await source.files.tree();

export interface MountInputs {
  readonly sources: readonly (MountSource | null)[];
  readonly secrets: Asked<Uint8Array>;
  readonly agents: Asked<string>;
  /** Whose cache folders they are: BUILDKIT_CACHE_MOUNT_NS, "" for everybody's. */
  readonly cacheNamespace: string;
  readonly signal: AbortSignal;
}

/**
 * What mounts say about the step's result: all that is asked of them, and what is in a source. What a secret or a
 * cache folder holds, and what an agent answers, say nothing.
 */
export async function digestMounts(
  builder: StageBuilder,
  mounts: readonly RunMountRequest[],
  sources: readonly (MountSource | null)[],
  { digest, useGiven }: { digest: InputDigest; useGiven: boolean },
): Promise<string> {
  const lines: string[] = [];
  for (const [index, mount] of mounts.entries()) {
    const source = sources[index] ?? null;
    if (source !== null) {
      if (source.kind === "context") await addTree(digest, source.tree, mount);
      else digest.inner(await layerInputs(builder, source, mount, useGiven));
    }
    const { type, target, readOnly, id, env, mode, uid, gid, sizeBytes, required } = mount;
    const place = source?.kind === "context" ? "context" : "";
    const asked = [mode, uid, gid, sizeBytes, required];
    lines.push(JSON.stringify([type, target, readOnly, id, env, mount.source, place, ...asked]));
  }
  return lines.join("\n");
}

async function addTree(
  digest: InputDigest,
  tree: SourceTree,
  { source }: RunMountRequest,
): Promise<void> {
  const found = tree.find(rawOf(source), { follow: true });
  if (found === null) throw invalid(`failed to mount ${source}: not found`);
  await digest.add(tree, found, { as: "", isExcluded: null, keepOwner: true });
}

async function layerInputs(
  builder: StageBuilder,
  { layers, files }: Extract<MountSource, { kind: "layers" }>,
  mount: RunMountRequest,
  useGiven: boolean,
): Promise<Inputs> {
  const question = questionOf(layers, ["mount", mount.source]);
  const known = recallInputs(builder, question, () => useGiven);
  if (known !== null) return known;
  const digest = new InputDigest();
  await addTree(digest, await files.tree(), mount);
  const inputs = { digest: digest.hex(), files: digest.files };
  rememberInputs(builder, question, inputs);
  return inputs;
}

const NO_LIMIT = { sizeBytes: null, readOnly: false };

export class StepMounts implements AsyncDisposable {
  readonly id: string;
  readonly mounts: MountRequest[] = [];
  /** Secrets and the agent's socket, for the program only. */
  readonly environment: string[] = [];
  readonly #context: Context;
  readonly #folder: string;
  readonly #scratch: string;
  readonly #cleanUp: (() => void | Promise<void>)[] = [];
  #count = 0;

  constructor(context: Context) {
    this.#context = context;
    this.id = newId();
    this.#folder = join(context.paths.run, this.id);
    this.#scratch = join(context.paths.data, "scratch", this.id);
  }

  /** Makes one mount. @throws EngineError "invalid" when there is nothing to mount */
  async add(mount: RunMountRequest, inputs: MountInputs, index: number): Promise<void> {
    const source = inputs.sources[index] ?? null;
    switch (mount.type) {
      case "bind":
        return await this.#bind(mount, source, inputs.signal);
      case "tmpfs":
        return this.addTmpfs(mount.target, mount);
      case "cache":
        return await this.#cache(mount, source, inputs);
      case "secret":
        return await this.#secret(mount, inputs.secrets);
      case "ssh":
        return await this.#agent(mount, inputs.agents);
    }
  }

  /** A script of the Dockerfile's own: not on the volatile file system, since nothing of Debian's /run may be executed. */
  addFile(target: string, content: string): void {
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
    const source = join(this.#scratch, "script");
    writeFileSync(source, content, { mode: 0o600, flag: "wx" });
    chmodSync(source, 0o755);
    this.#push(source, target, true);
  }

  /** A stack of layers, to be read. */
  addLayers(layers: readonly Digest[], target: string): void {
    this.#push(this.#attach(this.#context.snapshots.lowers(layers), false), target, true);
  }

  /** What is built there is run there: only a container's own has nothing that may be executed. */
  addTmpfs(
    target: string,
    { sizeBytes, readOnly }: Pick<RunMountRequest, "sizeBytes" | "readOnly"> = NO_LIMIT,
  ): void {
    const options = ["exec", "dev", ...(readOnly ? ["ro"] : [])];
    this.mounts.push({ type: "tmpfs", target, sizeBytes, mode: 0o1777, options });
  }

  /** An empty folder for what a program leaves behind. @returns where it is on the host, until the step's end */
  addFolder(target: string): string {
    const folder = join(this.#scratch, "written");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o755);
    this.#push(folder, target, false);
    return folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const undo of this.#cleanUp.toReversed()) await undo();
    rmSync(this.#folder, { recursive: true, force: true });
    await removeTree(this.#scratch);
  }

  #push(source: string, target: string, readOnly: boolean): void {
    this.mounts.push({
      type: "bind",
      source,
      target,
      readOnly,
      propagation: "rprivate",
      recursive: false,
      createSource: false,
    });
  }

  #place(): string {
    this.#count += 1;
    return join(this.#folder, String(this.#count));
  }

  #file(content: Uint8Array, mode: number): string {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const path = this.#place();
    writeFileSync(path, content, { mode: 0o600, flag: "wx" });
    chmodSync(path, mode);
    return path;
  }

  async #bind(
    mount: RunMountRequest,
    source: MountSource | null,
    signal: AbortSignal,
  ): Promise<void> {
    if (source === null) throw invalid(`failed to mount ${mount.target}: no source`);
    const tree = await treeOf(source);
    const found = tree.find(rawOf(mount.source), { follow: true });
    if (found === null) throw invalid(`failed to mount ${mount.source}: not found`);
    const isFolder = found.node.type === "directory";
    const lowers =
      source.kind === "layers"
        ? this.#context.snapshots.lowers(source.layers)
        : [await this.#layerOf(tree, mount.source, signal)];
    // Of the context only what is mounted was made a layer.
    const inside = source.kind === "layers" ? textOf(found.path) : isFolder ? "" : "file";
    const top = this.#attach(lowers, !mount.readOnly);
    this.#push(inside === "" ? top : `${top}/${inside}`, mount.target, mount.readOnly);
  }

  /** A part of the context as a layer that can be mounted. */
  async #layerOf(tree: SourceTree, source: string, signal: AbortSignal): Promise<string> {
    const { layers, gc } = this.#context;
    const found = tree.find(rawOf(source), { follow: true });
    if (found === null) throw invalid(`failed to mount ${source}: not found`);
    const plan = new CopyPlan({ root: null, nowSec: 0, latestSec: null });
    const destination = found.node.type === "directory" ? "/" : "/file";
    const item = { tree, found, name: "", destination, owner: null, mode: null, isExcluded: null };
    await plan.add({ ...item, whole: false });
    const lease = gc.lease();
    using hold = gc.hold();
    void hold;
    const { diffId } = await layers.writeEntries({ entries: plan.entries, signal });
    lease.keep({ layers: [diffId] });
    this.#cleanUp.push(() => {
      lease[Symbol.dispose]();
      gc.release({ layers: [diffId] });
    });
    return layers.mount(diffId);
  }

  /** A stack of layers at a path; writes go to scratch space and are thrown away. */
  #attach(lowers: readonly string[], isWritable: boolean): string {
    const target = this.#place();
    mkdirSync(target, { recursive: true, mode: 0o700 });
    const [upper, work] = ["upper", "work"].map((name) =>
      join(this.#scratch, String(this.#count), name),
    );
    if (isWritable) {
      for (const folder of [upper, work]) mkdirSync(folder ?? "", { recursive: true, mode: 0o755 });
    }
    // Thrown away: its end is not to wait until the disk has it.
    const options = { volatile: true } as const;
    const writable = isWritable && upper && work ? { upper, work, options } : { readOnly: true };
    using overlay = new FileDescriptor(createDetachedOverlay({ lowers, ...writable }));
    moveMount({ fromFd: overlay.fd, toPath: target });
    this.#cleanUp.push(() => void unmount(target, MNT_DETACH));
    return target;
  }

  async #cache(
    mount: RunMountRequest,
    source: MountSource | null,
    { cacheNamespace, signal }: Pick<MountInputs, "cacheNamespace" | "signal">,
  ): Promise<void> {
    const name = cacheName(mount, source !== null, cacheNamespace);
    const id = digestHex(digestOf(new TextEncoder().encode(name)));
    const { cache, inUse, clock, paths } = this.#context;
    if (mount.sharing === "locked") await this.#lock(id, signal);
    const busy = mount.sharing === "private" && (inUse.folders.get(id) ?? 0) > 0;
    // Its owner's other folder: whoever comes while it is used gets one of their own.
    const used = busy ? `${id}-${this.id}` : id;
    cache.useFolder(used, name, clock.now().getTime());
    inUse.folders.set(used, (inUse.folders.get(used) ?? 0) + 1);
    this.#cleanUp.push(() => void inUse.folders.set(used, (inUse.folders.get(used) ?? 1) - 1));
    const folder = join(paths.data, "caches", used);
    if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) {
      chownSync(folder, mount.uid ?? 0, mount.gid ?? 0);
      chmodSync(folder, mount.mode ?? 0o755);
    }
    const filled = source === null ? folder : await this.#filled(folder, mount, source, signal);
    this.#push(filled, mount.target, mount.readOnly);
  }

  /** A cache folder with the files it starts with: all of them or, after a crash, none. */
  async #filled(
    folder: string,
    mount: RunMountRequest,
    source: MountSource,
    signal: AbortSignal,
  ): Promise<string> {
    const place = join(folder, "_data");
    if (existsSync(place)) return place;
    const tree = await treeOf(source);
    const found = tree.find(rawOf(mount.source), { follow: true });
    if (found?.node.type !== "directory") {
      throw invalid(`failed to mount ${mount.source}: not found`);
    }
    const lowers =
      source.kind === "layers"
        ? this.#context.snapshots.lowers(source.layers)
        : [await this.#layerOf(tree, mount.source, signal)];
    const inside = source.kind === "layers" ? found.path : "";
    using overlay = new FileDescriptor(createDetachedOverlay({ lowers, readOnly: true }));
    using top = new FileDescriptor(
      openInRoot({
        rootFd: overlay.fd,
        path: inside === "" ? "." : bytesOf(inside),
        flags: O_PATH | O_DIRECTORY,
      }),
    );
    const { filling } = this.#context;
    const fill = filling.get(folder) ?? fillAside(top, folder);
    filling.set(folder, fill);
    try {
      await fill;
    } finally {
      filling.delete(folder);
    }
    return place;
  }

  /** One after the other. */
  async #lock(id: string, signal: AbortSignal): Promise<void> {
    const { locks } = this.#context;
    const before = locks.get(id) ?? Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = before.then(() => promise);
    locks.set(id, end);
    // Who gives up while waiting still keeps the order: the next one waits for who was before.
    this.#cleanUp.push(() => {
      resolve();
      void end.then(() => locks.get(id) === end && locks.delete(id));
    });
    const stopped = Promise.withResolvers<void>();
    const stop = () => stopped.resolve();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    await Promise.race([before, stopped.promise]);
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
  }

  async #secret(mount: RunMountRequest, secrets: Asked<Uint8Array>): Promise<void> {
    const { target } = mount;
    const id = mount.id || mount.source || (target.split("/").at(-1) ?? "");
    const value = await secrets.get(id);
    if (value === undefined) {
      if (mount.required) throw invalid(`secret ${id}: not found`);
      return;
    }
    if (mount.env !== null)
      this.environment.push(`${mount.env}=${new TextDecoder().decode(value)}`);
    if (target === "") return;
    const path = this.#file(value, mount.mode ?? 0o400);
    chownSync(path, mount.uid ?? 0, mount.gid ?? 0);
    this.#push(path, target, true);
  }

  async #agent(mount: RunMountRequest, agents: Asked<string>): Promise<void> {
    const socket = await agents.get(mount.id === "" ? "default" : mount.id);
    if (socket === undefined) {
      if (mount.required) throw invalid(`unset ssh forward key ${mount.id || "default"}`);
      return;
    }
    const target = mount.target === "" ? "/run/buildkit/ssh_agent.0" : mount.target;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const path = this.#place();
    const owner = { uid: mount.uid ?? 0, gid: mount.gid ?? 0, mode: mount.mode ?? 0o600 };
    this.#cleanUp.push(await relayAgent({ path, agent: socket, ...owner }));
    this.#push(path, target, false);
    this.environment.push(`SSH_AUTH_SOCK=${target}`);
  }
}

/**
 * What a cache folder is known by. One that starts with files, or belongs to somebody else, is another one than one of
 * its name that does not: a step finds what its own mount asks for.
 */
function cacheName(mount: RunMountRequest, isFilled: boolean, namespace: string): string {
  const { id, target, from, source, uid, gid, mode } = mount;
  const isOwned = uid !== null || gid !== null || mode !== null;
  const owner = ` of ${uid ?? 0}:${gid ?? 0} with mode ${(mode ?? 0o755).toString(8)}`;
  return [
    namespace === "" ? "" : `${namespace}/`,
    id === "" ? target : id,
    isFilled ? ` from ${from}:${source}` : "",
    isOwned ? owner : "",
  ].join("");
}

/** A stack of layers to look at. */
export const rootOf = (context: Context, layers: readonly Digest[]): RootTree =>
  new RootTree(context.snapshots.lowers(layers));
