/**
 * The layer store. Every layer is one file (layer-file.ts); what overlayfs gets is either a mount of that file
 * ("file") or a directory extracted from it ("directory", for kernels that cannot mount it).
 *
 * A crash leaves ingest files, which the next start deletes, or a directory without its layer file, which the next
 * write of that layer replaces. Mounts outlive the daemon: they are found in mountinfo by their target.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { open as openFile, rm } from "node:fs/promises";

import { assert, conflict, invalid, newId, notFound, sentenceOf } from "#base";
import { SyscallError } from "#linux/ffi";
import { type Digest, isDigest } from "#oci";

import { readLayerInfo } from "./layer-file.ts";
import { ingestPath, type JobResult, layerPath, type LayerJob, treePath } from "./layer-job.ts";
import type { LayerInfo, LayerStore, LayerWriteRequest, LayerWritten } from "./layer-store.ts";
import { directoryShow, fileShow, type LayerShow, mountsLayerFiles } from "./show.ts";
import { tarOf } from "./tar-of.ts";
import { type PoolRequest, WorkerPool } from "./worker-pool.ts";

export interface LayerStoreOptions {
  /** <data-root>/layers. */
  readonly root: string;
  /** <exec-root>/layers. */
  readonly mountRoot: string;
  /** "auto" (the default) takes files where this kernel can mount one. */
  readonly form?: "auto" | "file" | "directory";
  /** Told of files that are no good layers any more. */
  readonly warn?: (message: string) => void;
}

/** Opens the store, making its folders and clearing away what a crash left. */
export function openLayerStore(options: LayerStoreOptions): LayerStore {
  const { root, mountRoot, form = "auto", warn = () => undefined } = options;
  for (const path of [root, mountRoot]) mkdirSync(path, { recursive: true, mode: 0o700 });
  clearIngest(root);
  const chosen =
    form === "auto" ? (mountsLayerFiles(root, mountRoot) ? "file" : "directory") : form;
  const show = chosen === "file" ? fileShow(root, mountRoot) : directoryShow(root);
  return new Store(root, chosen, show, readInfos(root, warn));
}

/** What was arriving when the last daemon died goes while this one already works. */
function clearIngest(root: string): void {
  const ingest = `${root}/ingest`;
  // An empty one stays: on a full disk no other could be made.
  if (existsSync(ingest) && readdirSync(ingest).length > 0) {
    renameSync(ingest, `${root}/trash-${newId()}`);
  }
  mkdirSync(ingest, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(root)) {
    if (!name.startsWith("trash-")) continue;
    // What cannot be deleted now is tried again at the next start.
    rm(`${root}/${name}`, { recursive: true, force: true }).catch(() => undefined);
  }
}

function readInfos(root: string, warn: (message: string) => void): Map<Digest, LayerInfo> {
  const infos = new Map<Digest, LayerInfo>();
  for (const name of readdirSync(root)) {
    const diffId = `sha256:${name.replace(/\.layer$/, "")}`;
    if (!name.endsWith(".layer") || !isDigest(diffId)) continue;
    // A file whose head is not good is no layer: writing that layer again replaces it.
    const info = readLayerInfo(`${root}/${name}`, diffId);
    if (info) infos.set(diffId, info);
    else warn(`layer ${diffId} is damaged: pull, load or build its image again`);
  }
  return infos;
}

class Store implements LayerStore {
  readonly form: "file" | "directory";
  readonly #root: string;
  readonly #show: LayerShow;
  readonly #infos: Map<Digest, LayerInfo>;
  readonly #pool = new WorkerPool();

  constructor(
    root: string,
    form: "file" | "directory",
    show: LayerShow,
    infos: Map<Digest, LayerInfo>,
  ) {
    this.#root = root;
    this.form = form;
    this.#show = show;
    this.#infos = infos;
  }

  has(diffId: Digest): boolean {
    return this.#infos.has(diffId);
  }

  info(diffId: Digest): LayerInfo | null {
    return this.#infos.get(diffId) ?? null;
  }

  list(): LayerInfo[] {
    return [...this.#infos.values()];
  }

  async write(request: LayerWriteRequest): Promise<LayerWritten> {
    const { source, descriptor, diffId, signal, onProgress } = request;
    const job: LayerJob = {
      ...this.#newJob(),
      source:
        source instanceof ReadableStream
          ? { kind: "messages" }
          : {
              kind: "file",
              path: source.path,
              offset: source.offset ?? 0,
              sizeBytes: source.sizeBytes ?? null,
            },
      expected: {
        digest: descriptor?.digest ?? null,
        sizeBytes: descriptor?.size ?? null,
        diffId: diffId ?? null,
      },
    };
    const stream = source instanceof ReadableStream ? { stream: source } : {};
    return this.#write(job, { ...stream, signal, onProgress });
  }

  async writeUpper(request: Parameters<LayerStore["writeUpper"]>[0]): Promise<LayerInfo> {
    const { upper, skip = new Set<string>(), latestSec = null, signal } = request;
    return await this.#make({ kind: "upper", path: upper, skip, latestSec }, { signal });
  }

  async writeEntries(request: Parameters<LayerStore["writeEntries"]>[0]): Promise<LayerInfo> {
    const { entries, signal } = request;
    return await this.#make({ kind: "entries" }, { entries, signal });
  }

  /** A layer of our own making, of which nothing is known before. */
  async #make(
    source: LayerJob["source"],
    rest: Pick<PoolRequest, "entries" | "signal">,
  ): Promise<LayerInfo> {
    const expected = { digest: null, sizeBytes: null, diffId: null };
    const job: LayerJob = { ...this.#newJob(), source, expected };
    const { diffId, tarSizeBytes, contentSizeBytes, entries } = await this.#write(job, rest);
    return { diffId, tarSizeBytes, contentSizeBytes, entries };
  }

  #newJob() {
    return { root: this.#root, ingestId: newId(), extract: this.form === "directory" };
  }

  async #write(job: LayerJob, rest: Omit<PoolRequest, "job">): Promise<LayerWritten> {
    try {
      const { diffId, arrived, fresh } = await this.#pool.run({ job, ...rest });
      const info = await this.#commit(job, { diffId, fresh });
      return { ...info, arrived };
    } finally {
      // What a dead Worker or a lost race left; nothing otherwise.
      const path = ingestPath(this.#root, job.ingestId);
      rmSync(path, { force: true });
      await rm(`${path}.tree`, { recursive: true, force: true });
    }
  }

  /** Gives a complete file its name. It counts once the folder that holds the name is synced. */
  async #commit(
    job: LayerJob,
    { diffId, fresh }: Pick<JobResult, "diffId" | "fresh">,
  ): Promise<LayerInfo> {
    if (fresh && !this.#infos.has(diffId)) {
      const path = ingestPath(this.#root, job.ingestId);
      if (job.extract) {
        const tree = treePath(this.#root, diffId);
        rmSync(tree, { recursive: true, force: true });
        renameSync(`${path}.tree`, tree);
      }
      renameSync(path, layerPath(this.#root, diffId));
      this.#infos.set(diffId, fresh);
    }
    await using folder = await openFile(this.#root, "r");
    await folder.sync();
    const info = this.#infos.get(diffId);
    if (!info) throw conflict(`layer ${diffId} was removed while it was written`);
    return info;
  }

  mount(diffId: Digest): string {
    this.#known(diffId);
    try {
      return this.#show.show(diffId);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      throw invalid(`layer ${diffId} cannot be shown: ${sentenceOf(error)}`, { cause: error });
    }
  }

  tar(diffId: Digest): ReadableStream<Uint8Array> {
    const { tarSizeBytes } = this.#known(diffId);
    return tarOf(layerPath(this.#root, diffId), tarSizeBytes);
  }

  #known(diffId: Digest): LayerInfo {
    const info = this.#infos.get(diffId);
    if (!info) throw notFound(`layer ${diffId} does not exist`);
    return info;
  }

  remove(diffId: Digest): void {
    assert(isDigest(diffId), `${diffId} is a digest`);
    this.#infos.delete(diffId);
    this.#show.hide(diffId);
    const trash = ingestPath(this.#root, newId());
    try {
      renameSync(layerPath(this.#root, diffId), trash);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
      throw error;
    }
    // Freeing the blocks of a large file takes tens of milliseconds; what a crash leaves goes at the next start.
    rm(trash, { force: true }).catch(() => undefined);
  }

  close(): Promise<void> {
    this.#pool.close();
    return Promise.resolve();
  }
}
