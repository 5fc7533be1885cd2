/**
 * Sending a folder again without what the engine has of it: a list of what is there now, then an archive of the files
 * it asks for. An engine that cannot do that, or does not want to, gets the whole archive.
 */
import { hostname } from "node:os";

import { type ApiClient, ApiError, offerContext } from "#clients/api-client";

import { readTextFile } from "../terminal/stdio.ts";
import { archiveFile, asUpload, type ContextEntry } from "./context-tree.ts";
import { type FolderSource, wholeArchive } from "./source.ts";

/** What is smaller is sent before it could be asked about. */
const WORTH_BYTES = 1024 * 1024;
const WORTH_FILES = 200;

const letters = {
  file: "f",
  directory: "d",
  symlink: "l",
  character: "c",
  block: "b",
  fifo: "p",
} as const satisfies Record<ContextEntry["type"], string>;

export interface Upload {
  /** The offer that the archive completes; "" when it is the whole context. */
  readonly offer: string;
  readonly archive: AsyncIterable<Uint8Array>;
}

export async function uploadOf(client: ApiClient, source: FolderSource): Promise<Upload> {
  const { entries } = source.tree;
  const sizeBytes = entries.reduce((sum, { stat }) => sum + stat.sizeBytes, 0);
  const whole = (): Upload => ({ offer: "", archive: wholeArchive(source) });
  if (sizeBytes < WORTH_BYTES && entries.length < WORTH_FILES) return whole();
  const extra = [...source.extra].filter(([, content]) => content.length > 0);
  const offered = [...entries.map(offerOf), ...extra.map(offerOfExtra)];
  try {
    const { id, needed } = await offerContext(client, keyOf(source.folder), offered);
    const wanted = needed.filter((index) => index < entries.length);
    const asked = new Set(needed.map((index) => index - entries.length));
    const wantedExtra = extra.filter((_, index) => asked.has(index));
    const files = wanted.flatMap((index) => entries[index] ?? []);
    const parts = wantedExtra.map(([name, content]) => archiveFile(name, content));
    return { offer: id, archive: asUpload([source.tree.archive(files), ...parts]) };
  } catch (cause) {
    if (cause instanceof ApiError) return whole();
    throw cause;
  }
}

function offerOf({ path, type, stat, link }: ContextEntry): (string | number)[] {
  const { mode, mtimeSec, ctimeSec, ctimeNsec, ino, devMajor, devMinor } = stat;
  const size = type === "file" ? stat.sizeBytes : 0;
  // Whatever is done to a file changes this time; nobody can set it.
  const stamp =
    type === "file" ? `${devMajor}:${devMinor}:${ino}:${ctimeSec}.${ctimeNsec}:${mtimeSec}` : "";
  const entry = [letters[type], path, mode & 0o7777, mtimeSec, size, stamp];
  if (type === "symlink") return [...entry, link];
  if (type === "character" || type === "block") {
    return [...entry, "", stat.rdevMajor, stat.rdevMinor];
  }
  return entry;
}

function offerOfExtra([name, content]: readonly [string, Uint8Array]): (string | number)[] {
  const digest = new Bun.CryptoHasher("sha256").update(content).digest("hex");
  return ["f", name, 0o644, 0, content.length, `sha256:${digest}`];
}

/** The folder's name for the engine: another machine's folder of the same path is another one. */
function keyOf(folder: string): string {
  const machine = readTextFile("/etc/machine-id")?.trim() || hostname();
  return new Bun.CryptoHasher("sha256").update(`${machine}\n${folder}`).digest("hex");
}
