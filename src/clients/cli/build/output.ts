/** `--output`: where a build's result goes beside the engine's images: an archive, or the files themselves. */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";

import { invalid } from "#base";
import {
  type ApiClient,
  type ApiResponse,
  createContainer,
  exportContainer,
  removeContainer,
  saveImages,
} from "#clients/api-client";
import { FileDescriptor, O_DIRECTORY, O_PATH, openPath } from "#linux/path";
import { TreeWriter } from "#linux/tree";
import { TarParser } from "#wire/tar";

import { checkOutput, writeOutput } from "../commands/output-file.ts";
import { csvFields, keyValue } from "../options/csv.ts";

export type Output =
  /** The engine's own store: where every build ends. */
  | { readonly type: "image"; readonly names: readonly string[] }
  | { readonly type: "archive"; readonly path: string }
  | { readonly type: "tar"; readonly path: string }
  | { readonly type: "local"; readonly path: string };

/** `type=local,dest=out`, `out` for that, `-` for an archive of the files on standard output. */
export function parseOutput(text: string): Output {
  if (!text.includes("=")) {
    return text === "-" ? { type: "tar", path: "" } : { type: "local", path: text };
  }
  let [type, dest] = ["", ""];
  const names: string[] = [];
  for (const field of csvFields(text)) {
    const [key, value] = keyValue(field);
    if (value === undefined) throw invalid(`invalid value ${field}`);
    if (key === "type") type = value;
    else if (key === "dest") dest = value;
    else if (key === "name" && value !== "") names.push(...value.split(","));
    else throw invalid(`the output attribute "${key}" is not supported`);
  }
  const path = dest === "-" ? "" : dest;
  switch (type) {
    case "image":
      return { type, names };
    case "docker":
      return dest === "" ? { type: "image", names } : { type: "archive", path };
    case "oci":
      if (dest === "") throw invalid(`dest is required for ${type} exporter`);
      return { type: "archive", path };
    case "tar":
      return { type, path };
    case "local":
      if (path === "") throw invalid("dest is required for local output");
      return { type, path };
    default:
      throw invalid(type === "" ? "type is required for output" : `unknown output type "${type}"`);
  }
}

/** Before anything is built. @throws EngineError "invalid" */
export function checkOutputs(outputs: readonly Output[]): void {
  for (const output of outputs) {
    if (output.type === "archive" || output.type === "tar") checkOutput(output.path, "save image");
  }
}

/** @param names of the image; its id where it has none */
export async function writeOutputs(
  client: ApiClient,
  outputs: readonly Output[],
  { id, names }: { id: string; names: readonly string[] },
): Promise<void> {
  for (const output of outputs) {
    switch (output.type) {
      case "image":
        break;
      case "archive":
        await writeOutput(output.path, await saveImages(client, names.length > 0 ? names : [id]));
        break;
      case "tar":
        await withFiles(client, id, (files) => writeOutput(output.path, files));
        break;
      case "local":
        await withFiles(client, id, (files) => unpack(files, resolve(output.path)));
        break;
    }
  }
}

/** The image's files, by way of a container that is never started. */
async function withFiles(
  client: ApiClient,
  image: string,
  use: (files: ApiResponse) => Promise<void>,
): Promise<void> {
  // An image without a command needs one to be made a container of; it never runs.
  const config = { Image: image, Cmd: ["-"] };
  const { Id: container } = await createContainer(client, { config });
  try {
    await use(await exportContainer(client, container));
  } finally {
    await removeContainer(client, container, { force: true, volumes: true });
  }
}

async function unpack(files: ApiResponse, path: string): Promise<void> {
  mkdirSync(path, { recursive: true });
  using root = new FileDescriptor(openPath(path, O_PATH | O_DIRECTORY));
  const isRoot = process.getuid?.() === 0;
  const owner = isRoot ? null : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  using writer = new TreeWriter({ rootFd: root.fd, path: "/", keepKinds: true, owner });
  const parser = new TarParser(writer);
  for (let chunk = await files.read(); chunk; chunk = await files.read()) parser.push(chunk);
  parser.end();
  writer.end();
}
