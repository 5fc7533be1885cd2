/** `--squash`: what the layers above a base say together, as one layer. */
import {
  below,
  isWhiteout,
  LayerFiles,
  type RootTree,
  type SourceNode,
} from "#engine/build/source";
import type { LayerEntry } from "#engine/layer";
import { type Digest, digestOf, type HistoryEntry } from "#oci";

import type { BuildScope } from "./solver.ts";
import { imageConfigOf, type StageState, timeText } from "./stage-state.ts";
import { takeStep } from "./steps.ts";

const WHITEOUT = ".wh.";
const OPAQUE_MARKER = ".wh..wh..opq";

/**
 * The image with one layer on top of its base, its history as Docker writes it. Squashing one thing twice gives one
 * image: it is a step like any other.
 */
export async function squash(
  scope: BuildScope,
  { base, state }: { base: StageState; state: StageState },
): Promise<StageState> {
  const { context, request, lease, signal, epochSec } = scope;
  const above = state.layers.slice(base.layers.length);
  if (above.length === 0) return state;
  const [merged, below] = [above.join(), base.layers.join()];
  const facts = { squash: merged, parent: below, epoch: String(epochSec) };
  const done = await takeStep(context, {
    slot: "squash",
    description: "squash",
    parent: base.layers.at(-1) ?? "",
    reads: { facts, files: [] },
    alone: false,
    noCache: request.noCache,
    imported: () => null,
    make: (until) => writeMerged(scope, { base, above, signal: until }),
    signal,
    lease,
    onCache: () => Promise.resolve(),
  });
  if (done.layer === null) throw new Error("broken invariant: a squash gives a layer");
  const created = timeText(epochSec === null ? done.createdMs : epochSec * 1000);
  const from = idOf(scope, state);
  const comment =
    base.layers.length === 0 ? `create new from ${from}` : `merge ${from} to ${idOf(scope, base)}`;
  const history = state.history.map((entry, index): HistoryEntry =>
    index < base.history.length ? entry : { ...entry, empty_layer: true },
  );
  return {
    ...state,
    created,
    layers: [...base.layers, done.layer],
    history: [...history, { created, comment }],
  };
}

const idOf = ({ request }: BuildScope, state: StageState): Digest =>
  digestOf(JSON.stringify(imageConfigOf(state, request.labels)));

async function writeMerged(
  scope: BuildScope,
  request: { base: StageState; above: readonly Digest[]; signal: AbortSignal },
): Promise<Digest> {
  const { context } = scope;
  const { base, above, signal } = request;
  using opened = new DisposableStack();
  const layers = above
    .toReversed()
    .map((layer) => opened.use(new LayerFiles(context.layers.mount(layer))));
  const entries = mergeLayers(layers, scope.root(base.layers));
  const { diffId } = await context.layers.writeEntries({ entries, signal });
  return diffId;
}

/** @param layers topmost first. @param base what lies below them: what it does not have need not be hidden */
export function mergeLayers(layers: readonly LayerFiles[], base: RootTree): LayerEntry[] {
  const merge = new Merge(base);
  merge.directory("", layers, false);
  return merge.entries;
}

class Merge {
  readonly entries: LayerEntry[] = [];
  readonly #base: RootTree;
  /** First names of files with several, by layer and inode. */
  readonly #links = new Map<string, string>();

  constructor(base: RootTree) {
    this.#base = base;
  }

  /** @param isHidden nothing of the base is seen here anyway */
  directory(path: string, layers: readonly LayerFiles[], isHidden: boolean): void {
    const names = new Set(layers.flatMap((layer) => layer.list(path)));
    for (const name of [...names].sort()) this.#one(path, name, { layers, isHidden });
  }

  #one(
    parent: string,
    name: string,
    { layers, isHidden }: { layers: readonly LayerFiles[]; isHidden: boolean },
  ): void {
    const path = below(parent, name);
    const folders: LayerFiles[] = [];
    let top: { layer: LayerFiles; node: SourceNode } | null = null;
    let isOpaque = false;
    for (const layer of layers) {
      const node = layer.at(path);
      if (node === null) continue;
      const isFolder = node.type === "directory";
      if (top !== null && !isFolder) isOpaque = true;
      top ??= { layer, node };
      if (!isFolder) break;
      folders.push(layer);
      isOpaque = layer.isOpaque(path);
      if (isOpaque) break;
    }
    if (top === null) return;
    if (isWhiteout(top.node)) {
      if (!isHidden && this.#base.at(path) !== null) this.#hide(below(parent, WHITEOUT + name));
      return;
    }
    this.#add(path, top.layer, top.node);
    if (folders.length === 0) return;
    const hides = isOpaque && !isHidden && this.#base.at(path)?.type === "directory";
    if (hides) this.#hide(below(path, OPAQUE_MARKER));
    this.directory(path, folders, isHidden || isOpaque);
  }

  #hide(name: string): void {
    this.entries.push({ ...NOTHING, name, type: "file" });
  }

  #add(path: string, layer: LayerFiles, node: SourceNode): void {
    const { identity, ...entry } = node;
    const id = identity === "" || node.type === "directory" ? "" : `${layer.fd}:${identity}`;
    const first = this.#links.get(id);
    if (id !== "" && first !== undefined) {
      this.entries.push({
        ...entry,
        name: path,
        type: "hardlink",
        link: first,
        sizeBytes: 0,
        data: null,
      });
      return;
    }
    if (id !== "") this.#links.set(id, path);
    this.entries.push({ ...entry, name: path });
  }
}

const NOTHING = {
  mode: 0,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  mtimeSec: 0,
  devMajor: 0,
  devMinor: 0,
  link: null,
  xattrs: null,
  data: null,
} as const;
