/** What `naru build` builds from: a folder, an archive or Dockerfile on standard input, or an address for the engine. */
import { realpathSync, statSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";

import { invalid } from "#base";
import { readIgnoreFile } from "#wire/ignore";
import { peek } from "#wire/tar";

import { readTextFile, readToEnd, STDIN } from "../terminal/stdio.ts";
import { archiveFile, asUpload, ContextTree } from "./context-tree.ts";

export type Source =
  | { readonly kind: "remote"; readonly remote: string; readonly dockerfile: string }
  | {
      readonly kind: "stream";
      readonly stream: AsyncIterable<Uint8Array>;
      readonly dockerfile: string;
    }
  | FolderSource;

export interface FolderSource {
  readonly kind: "folder";
  readonly folder: string;
  readonly tree: ContextTree;
  /** In the context. */
  readonly dockerfile: string;
  /** Its name for the person who gave it. */
  readonly shown: string;
  /** Files that are sent though they are not in the folder. */
  readonly extra: ReadonlyMap<string, Uint8Array>;
}

/** A Dockerfile from elsewhere is sent under this name, and kept out of COPY. */
const SENT_DOCKERFILE = ".dockerfile.naru";
const IGNORE_FILE = ".dockerignore";

/** @param file of `--file`: "" for the usual one, "-" for standard input */
export async function openSource(context: string, file: string): Promise<Source> {
  if (context === "-") return await fromStdin(file);
  if (/^(?:https?:\/\/|git:\/\/|ssh:\/\/|\w[\w-]*@[\w.-]+:|github\.com\/)/.test(context)) {
    return { kind: "remote", remote: context, dockerfile: file };
  }
  return fromFolder(context, file);
}

async function fromStdin(file: string): Promise<Source> {
  if (file === "-")
    throw invalid("invalid argument: can't use stdin for both build context and dockerfile");
  const { kind, stream } = await peek(Bun.stdin.stream());
  if (kind !== "other" && kind !== "json") return { kind: "stream", stream, dockerfile: file };
  const text = new Uint8Array(await new Response(stream).arrayBuffer());
  if (text.length === 0) throw invalid("the Dockerfile (Dockerfile) cannot be empty");
  return {
    kind: "stream",
    stream: asUpload([archiveFile("Dockerfile", text)]),
    dockerfile: "Dockerfile",
  };
}

function fromFolder(context: string, file: string): FolderSource {
  const folder = folderAt(context);
  const { name, text, isInside } = dockerfileOf(folder, file);
  const own =
    isInside || file === "-"
      ? readTextFile(`${folder}/${name}.dockerignore`)
      : readTextFile(`${file}.dockerignore`);
  const common = readTextFile(`${folder}/${IGNORE_FILE}`);
  const patterns = readIgnoreFile(own ?? common ?? "");
  const keep = new Set([name, `${name}.dockerignore`, IGNORE_FILE]);
  const shown = isInside ? name : file === "-" ? "Dockerfile" : file;
  const tree = new ContextTree(folder, patterns, keep);
  const extra = new Map<string, Uint8Array>();
  if (!isInside) {
    extra.set(name, Buffer.from(text));
    // The engine reads it for this name first, and so leaves the Dockerfile out of COPY.
    const rules = `${own ?? common ?? ""}\n${name}\n${name}.dockerignore\n`;
    extra.set(`${name}.dockerignore`, Buffer.from(rules));
  }
  return { kind: "folder", folder, tree, dockerfile: name, shown, extra };
}

function folderAt(context: string): string {
  let folder: string;
  try {
    folder = realpathSync(context);
  } catch (cause) {
    throw invalid(`unable to prepare context: path "${context}" not found`, { cause });
  }
  if (!statSync(folder).isDirectory()) {
    throw invalid(`unable to prepare context: path "${context}" is not a directory`);
  }
  return folder;
}

function dockerfileOf(
  folder: string,
  file: string,
): { name: string; text: string; isInside: boolean } {
  if (file === "-") {
    const text = new TextDecoder().decode(readToEnd(STDIN));
    return { name: SENT_DOCKERFILE, text, isInside: false };
  }
  const asked = file === "" ? resolve(folder, "Dockerfile") : resolve(file);
  let text = readTextFile(asked);
  let path = asked;
  if (text === undefined && file === "") {
    path = resolve(folder, "dockerfile");
    text = readTextFile(path);
  }
  if (text === undefined) {
    throw invalid(
      `failed to read dockerfile: open ${file || "Dockerfile"}: no such file or directory`,
    );
  }
  // A folder on the way may be a link; the file itself is sent under the name it was asked by.
  const name = relative(folder, resolve(realpathSync(dirname(path)), basename(path)));
  const isInside = name !== ".." && !name.startsWith("../");
  return isInside ? { name, text, isInside } : { name: SENT_DOCKERFILE, text, isInside };
}

/** All of a folder's context as one archive. */
export const wholeArchive = ({ tree, extra }: FolderSource): AsyncIterable<Uint8Array> =>
  asUpload([
    tree.archive(tree.entries),
    ...[...extra].map(([name, content]) => archiveFile(name, content)),
  ]);
