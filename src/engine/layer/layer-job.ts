/**
 * The work of one write, as a Worker does it: bytes in; a verified, synced and complete layer file out, still
 * under its ingest name. The store gives it its own.
 *
 *   <root>/ingest/<id>         arriving; deleted when the daemon starts
 *   <root>/ingest/<id>.tree    its directory form, being extracted
 *   <root>/<hex>.layer         layers, by the hexadecimal digits of their diffId
 *   <root>/<hex>.tree/         the directory form, where that is used
 */
import { closeSync, openSync, readSync, rmSync } from "node:fs";

import { EngineError, internal, invalid, sentenceOf, systemSentences } from "#base";
import { digestHex, type Digest } from "#oci";
import { TAR_TRAILER, tarChunks } from "#wire/tar";

import { decompress, type Pieces, recognise } from "./decompress.ts";
import { extractTree } from "./extract.ts";
import { EntriesTar, type LayerEntry } from "./entries-tar.ts";
import { LayerBuilder } from "./layer-builder.ts";
import { HEAD_BYTES, readLayerInfo } from "./layer-file.ts";
import type { LayerInfo, LayerWritten } from "./layer-store.ts";
import { upperTar } from "./upper.ts";

/** A write, in words that can be sent to a Worker. */
export interface LayerJob {
  readonly root: string;
  readonly ingestId: string;
  /** Also keep the layer as a directory. */
  readonly extract: boolean;
  readonly source:
    | {
        readonly kind: "file";
        readonly path: string;
        readonly offset: number;
        readonly sizeBytes: number | null;
      }
    | { readonly kind: "messages" }
    | {
        readonly kind: "upper";
        readonly path: string;
        readonly skip: ReadonlySet<string>;
        readonly latestSec: number | null;
      }
    /** What to write arrives in messages. */
    | { readonly kind: "entries" };
  readonly expected: {
    readonly digest: Digest | null;
    readonly sizeBytes: number | null;
    readonly diffId: Digest | null;
  };
}

/** What a job needs from where it runs. */
export interface JobContext {
  /** Pieces for a source of "messages". */
  readonly pieces: Pieces;
  /** For a source of "entries". */
  readonly entries: AsyncIterable<readonly LayerEntry[]>;
  /** Throws when the job was given up; lets messages arrive. */
  readonly checkpoint: () => Promise<void>;
  readonly progress: (doneBytes: number) => void;
}

export interface JobResult {
  readonly diffId: Digest;
  readonly arrived: LayerWritten["arrived"];
  /** The new layer's facts; null when the store has the layer already and nothing was kept. */
  readonly fresh: LayerInfo | null;
}

const FILE_PIECE_BYTES = 1024 * 1024;
/** How often a job looks whether it was given up. */
const CHECKPOINT_BYTES = 8 * 1024 * 1024;

export const layerPath = (root: string, diffId: Digest): string =>
  `${root}/${digestHex(diffId)}.layer`;
export const treePath = (root: string, diffId: Digest): string =>
  `${root}/${digestHex(diffId)}.tree`;
export const ingestPath = (root: string, id: string): string => `${root}/ingest/${id}`;

/** Does the job. @throws EngineError; nothing is left behind then */
export async function runLayerJob(job: LayerJob, context: JobContext): Promise<JobResult> {
  try {
    return await build(job, context);
  } catch (error) {
    throw asEngineError(error);
  }
}

/** A full disk and the like keep the kernel's words; whose fault it is the kind tells. */
function asEngineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  if (!(error instanceof Error)) return internal(String(error), { cause: error });
  // The call and its path are the layer store's own business.
  const code = "code" in error ? String(error.code) : "";
  const { [code]: words = sentenceOf(error) } = systemSentences as Record<string, string>;
  return internal(`write layer: ${words}`, { cause: error });
}

async function build(job: LayerJob, context: JobContext): Promise<JobResult> {
  const { root, ingestId, source, expected } = job;
  const known = (diffId: Digest) => readLayerInfo(layerPath(root, diffId), diffId) !== null;
  // A layer that is there already is only checked.
  const keepBytes = expected.diffId === null || !known(expected.diffId);
  using builder = new LayerBuilder(ingestPath(root, ingestId), keepBytes);
  let next = CHECKPOINT_BYTES;
  const take = async (plain: Uint8Array) => {
    builder.push(plain);
    if (builder.tarSizeBytes < next) return;
    next = builder.tarSizeBytes + CHECKPOINT_BYTES;
    await context.checkpoint();
  };
  const arrived = await receive({ source, expected, context, take });
  const diffId = builder.endTar();
  const result = {
    digest: arrived?.digest ?? diffId,
    sizeBytes: arrived?.sizeBytes ?? builder.tarSizeBytes,
  };
  verify(result, diffId, expected);
  await context.checkpoint();
  if (!keepBytes || known(diffId)) return { diffId, arrived: result, fresh: null };
  return { diffId, arrived: result, fresh: finish(builder, job, diffId) };
}

interface ReceiveRequest {
  readonly source: LayerJob["source"];
  readonly expected: LayerJob["expected"];
  readonly context: JobContext;
  readonly take: (plain: Uint8Array) => Promise<void>;
}

/** Takes the whole source. @returns what arrived, when that is not the plain tar itself */
async function receive(request: ReceiveRequest): Promise<LayerWritten["arrived"] | null> {
  const { source, expected, context, take } = request;
  if (source.kind === "upper") {
    const { path, skip, latestSec } = source;
    for (const piece of upperTar(path, skip, latestSec)) await take(piece);
    return null;
  }
  if (source.kind === "entries") {
    using tar = new EntriesTar();
    for await (const entries of context.entries) {
      for (const piece of tarChunks(tar.of(entries))) await take(piece);
    }
    await take(TAR_TRAILER);
    return null;
  }
  const { compression, pieces } = await recognise(
    source.kind === "file" ? filePieces(source) : context.pieces,
  );
  // A plain tar is hashed once, by the builder.
  const hasher = compression === "plain" ? null : new Bun.CryptoHasher("sha256");
  let sizeBytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void> {
    for await (const piece of pieces) {
      sizeBytes += piece.length;
      if (expected.sizeBytes !== null && sizeBytes > expected.sizeBytes) {
        throw invalid(`unexpected layer size: more than ${expected.sizeBytes} bytes`);
      }
      hasher?.update(piece);
      context.progress(sizeBytes);
      yield piece;
    }
  }
  await decompress({ compression, pieces: counted(), take });
  return hasher && { digest: `sha256:${hasher.digest("hex")}`, sizeBytes };
}

function verify(
  arrived: LayerWritten["arrived"],
  diffId: Digest,
  expected: LayerJob["expected"],
): void {
  if (expected.sizeBytes !== null && arrived.sizeBytes !== expected.sizeBytes) {
    throw invalid(
      `unexpected layer size: ${arrived.sizeBytes} bytes instead of ${expected.sizeBytes}`,
    );
  }
  if (expected.digest !== null && arrived.digest !== expected.digest) {
    throw invalid(`filesystem layer verification failed for digest ${expected.digest}`);
  }
  if (expected.diffId !== null && diffId !== expected.diffId) {
    throw invalid(`layer ${diffId} is not the expected layer ${expected.diffId}`);
  }
}

/** Completes the file, and the directory beside it where one is wanted. */
function finish(builder: LayerBuilder, job: LayerJob, diffId: Digest): LayerInfo {
  const info = builder.finish(diffId);
  if (job.extract) {
    const target = `${ingestPath(job.root, job.ingestId)}.tree`;
    try {
      const { tree, fd } = builder;
      extractTree({ root: tree.root, tarFd: fd, tarOffset: HEAD_BYTES, target });
    } catch (error) {
      rmSync(target, { recursive: true, force: true });
      throw error;
    }
  }
  builder.keep();
  return info;
}

/** A file's bytes through two buffers in turn. */
async function* filePieces(source: {
  path: string;
  offset: number;
  sizeBytes: number | null;
}): AsyncGenerator<Uint8Array, void> {
  const fd = openSync(source.path, "r");
  try {
    const buffers = [Buffer.alloc(FILE_PIECE_BYTES), Buffer.alloc(FILE_PIECE_BYTES)];
    const end = source.sizeBytes === null ? Infinity : source.offset + source.sizeBytes;
    for (let position = source.offset, turn = 0; position < end; turn = 1 - turn) {
      const buffer = buffers[turn] ?? Buffer.alloc(FILE_PIECE_BYTES);
      const filled = readSync(fd, buffer, 0, Math.min(buffer.length, end - position), position);
      if (filled === 0) {
        if (end === Infinity) return;
        throw invalid("unexpected EOF");
      }
      position += filled;
      yield buffer.subarray(0, filled);
    }
  } finally {
    closeSync(fd);
  }
}
