/** `docker cp` and `docker export`: a container's files as a tar, and a tar into them. */
import type { ExtractRequest, PathStat } from "../container-service.ts";
import type { Context } from "../context.ts";
import { publishEvent } from "../happenings.ts";
import { exportAside, extractAside, readAside, statAside } from "./aside.ts";
import { begun, isBulk } from "./bulk.ts";
import { parseAskedPath, pathStatIn } from "./lookup.ts";
import { piecesStream } from "./pieces.ts";
import { bulkAside, openFiles } from "./view.ts";
import { archivePieces, exportPieces, extractHere } from "./work.ts";

/** @throws EngineError "notFound": `Could not find the file …` */
export async function statPathOf(
  context: Context,
  nameOrId: string,
  path: string,
): Promise<PathStat> {
  const asked = parseAskedPath(path);
  using view = await openFiles(context, nameOrId);
  return view.aside === null ? pathStatIn(view, asked) : await statAside(view.aside, asked);
}

/** The tar of one file or directory of a container. Reading it to its end, or cancelling it, closes everything. */
export async function readArchiveOf(
  context: Context,
  nameOrId: string,
  path: string,
): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }> {
  const asked = parseAskedPath(path);
  const view = await openFiles(context, nameOrId);
  try {
    const aside = view.aside ?? (isBulk(view, asked) ? bulkAside(context, view) : null);
    if (aside !== null) {
      const { stat, tar } = await readAside(aside, { action: "read", asked }, view);
      publishEvent(context, view.record, "archive-path");
      return { stat, tar };
    }
    const stat = pathStatIn(view, asked);
    const tar = piecesStream(archivePieces(view, asked), view);
    publishEvent(context, view.record, "archive-path");
    return { stat, tar };
  } catch (error) {
    view[Symbol.dispose]();
    throw error;
  }
}

/** Everything but what is mounted, as Docker's export. */
export async function exportOf(
  context: Context,
  nameOrId: string,
): Promise<ReadableStream<Uint8Array>> {
  const view = await openFiles(context, nameOrId);
  try {
    const aside = view.aside ?? bulkAside(context, view);
    const tar =
      aside === null ? piecesStream(exportPieces(view), view) : await exportAside(aside, view);
    publishEvent(context, view.record, "export");
    return tar;
  } catch (error) {
    view[Symbol.dispose]();
    throw error;
  }
}

/** Writes an archive into a directory of a container. What was written before a failure stays, as with Docker. */
export async function extractInto(
  context: Context,
  nameOrId: string,
  request: ExtractRequest,
): Promise<void> {
  const { path, keepKinds, copyOwner } = request;
  const asked = parseAskedPath(path);
  const { id } = context.records.resolve(nameOrId);
  // Before anything is held: who sends nothing keeps nobody waiting.
  const { whole: archive, isBulk: isLarge } = await begun(request.archive);
  using view = await openFiles(context, id);
  const aside = view.aside ?? (isLarge ? bulkAside(context, view) : null);
  if (aside === null) await extractHere(view, asked, { ...request, archive });
  else {
    const task = { action: "extract", asked, keepKinds, copyOwner } as const;
    await extractAside(aside, task, { signal: request.signal, archive, patience: view });
  }
  publishEvent(context, view.record, "extract-to-dir");
}
