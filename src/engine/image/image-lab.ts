/** An image service over real stores in a folder of its own, for tests; opened again like a restarted daemon. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "#base";
import { type ContentStore, openContentStore } from "#engine/content";
import type { EngineEvent } from "#engine/events";
import { type GarbageCollector, openGarbageCollector } from "#engine/gc";
import { type LayerStore, openLayerStore } from "#engine/layer";
import { type TarEntrySource, tarStream } from "#wire/tar";
import { openRegistryClient } from "#engine/registry-client";
import { openStore, type Store } from "#engine/store";
import type { Digest, ImageConfig } from "#oci";

import {
  imageMigrations,
  type ImageService,
  openImageService,
  type ProgressMessage,
} from "./index.ts";

export interface Lab {
  readonly root: string;
  readonly images: ImageService;
  readonly layers: LayerStore;
  readonly content: ContentStore;
  readonly gc: GarbageCollector;
  readonly store: Store;
  readonly events: Omit<EngineEvent, "timeNano">[];
  /** Containers by the image they use. */
  readonly users: Map<Digest, { id: string; running: boolean }[]>;
  close(): Promise<void>;
}

export const newLabRoot = (): string => mkdtempSync("/tmp/naru-test-image-");

export function openLab(root: string): Lab {
  const store = openStore({ path: join(root, "naru.db"), migrations: imageMigrations });
  const content = openContentStore(join(root, "content"));
  const layers = openLayerStore({ root: join(root, "layers"), mountRoot: join(root, "run") });
  const users = new Map<Digest, { id: string; running: boolean }[]>();
  const events: Omit<EngineEvent, "timeNano">[] = [];
  const snapshots = { list: () => [], remove: () => Promise.resolve() };
  const gc = openGarbageCollector({ content, layers, snapshots, owners: ["image"] });
  const images = openImageService({
    store,
    content,
    layers,
    gc,
    events: { publish: (event) => void events.push(event) },
    users: { usersOf: (id) => users.get(id) ?? [] },
    registry: openRegistryClient({
      clock: { ...systemClock, sleep: () => Promise.resolve() },
      limits: { stallTimeoutMs: 2000 },
    }),
  });
  return {
    root,
    images,
    layers,
    content,
    gc,
    store,
    events,
    users,
    close: async () => {
      for (const { diffId } of layers.list()) layers.remove(diffId);
      await layers.close();
      store[Symbol.dispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

export const noSignal: AbortSignal = new AbortController().signal;

/** Collects progress as the lines people see. */
export function collector(): {
  lines: () => string[];
  onProgress: (message: ProgressMessage) => void;
} {
  const messages: ProgressMessage[] = [];
  return {
    onProgress: (message) => messages.push(message),
    lines: () =>
      messages.map(({ id, status, stream }) =>
        `${id === undefined ? "" : `${id}: `}${status ?? stream ?? ""}`.trimEnd(),
      ),
  };
}

type Entry = readonly [TarEntrySource, (string | Uint8Array)?];

/** A tar as bytes. */
export async function tarOf(entries: readonly Entry[]): Promise<Uint8Array> {
  const stream = tarStream(async (writer) => {
    for (const [entry, body] of entries) await writer.add(entry, body);
  });
  return await new Response(stream).bytes();
}

/** A layer of one file. */
export const layerTar = (name: string, body: string | Uint8Array): Promise<Uint8Array> =>
  tarOf([[{ name }, body]]);

export function configFor(diffIds: readonly Digest[], more: Partial<ImageConfig> = {}): string {
  return JSON.stringify({
    created: "2024-05-06T07:08:09Z",
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Env: ["A=1"], Labels: { color: "red" } },
    rootfs: { type: "layers", diff_ids: diffIds },
    history: diffIds.map((_diffId, index) => ({ created_by: `step ${index}` })),
    ...more,
  });
}

export const streamOf = (bytes: Uint8Array, chunkBytes = 65536): ReadableStream<Uint8Array> => {
  let offset = 0;
  return new ReadableStream({
    pull: (controller) => {
      if (offset >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(offset, offset + chunkBytes));
      offset += chunkBytes;
    },
  });
};

export const messageOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "no failure",
    (thrown: unknown) => (thrown instanceof Error ? thrown.message : String(thrown)),
  );
