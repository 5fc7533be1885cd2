/** `naru context update`, `export` and `import`: a context changed, and as an archive that docker reads, too. */
import { createReadStream, existsSync, openSync, closeSync, readFileSync } from "node:fs";

import { conflict, invalid, notFound, sentenceOf } from "#base";
import { readTarEntries, TarWriter } from "#wire/tar";

import {
  createContext,
  listContexts,
  readContext,
  TLS_FILES,
  tlsDirectory,
  tlsFilesOf,
  writeContext,
  type ContextMeta,
  type TlsFile,
} from "../config/context-store.ts";
import { DEFAULT_CONTEXT } from "../config/session.ts";
import { isZip, zipEntries } from "../config/zip.ts";
import { printLine, STDOUT, warn, writeAll } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import { ExitError, type Command } from "./command.ts";
import { checkName, contextFlags, endpointAsked } from "./context.ts";

/** Docker's limit for what is imported. */
const IMPORT_LIMIT_BYTES = 10 * 1024 * 1024;
const STDIN_PATH = "/dev/stdin";

export const update: Command = {
  flags: contextFlags,
  run({ flags, args, session }) {
    const [name = ""] = args;
    checkName(name);
    const meta = readContext(session.configDirectory, name);
    const asked = flags.changed("docker")
      ? endpointAsked(session, flags.list("docker"), "")
      : undefined;
    const about = flags.changed("description") ? { Description: flags.string("description") } : {};
    const changed: ContextMeta = {
      ...meta,
      Metadata: { ...meta.Metadata, ...about },
      Endpoints: { ...meta.Endpoints, ...(asked === undefined ? {} : { docker: asked.docker }) },
    };
    writeContext(session.configDirectory, changed, asked?.tls ?? {});
    printLine(name);
    warn(`Successfully updated context "${name}"`);
    return 0;
  },
};

export const exportCommand: Command = {
  flags: [],
  async run({ args, session }) {
    const [name = "", target = `${name}.dockercontext`] = args;
    if (name !== DEFAULT_CONTEXT) checkName(name);
    if (name === DEFAULT_CONTEXT) throw invalid('context "default" cannot be exported');
    if (target === "-" && isTerminal(STDOUT)) {
      throw invalid("cowardly refusing to export to a terminal, specify a file path");
    }
    const config = session.configDirectory;
    const meta = readContext(config, name);
    const fd = target === "-" ? STDOUT : openNew(target);
    try {
      const writer = new TarWriter((bytes) => writeAll(fd, bytes));
      await writer.add({ name: "meta.json" }, JSON.stringify(meta));
      await writer.add({ name: "tls", type: "directory", mode: 0o700 });
      const files = tlsFilesOf(config, name);
      if (files.length > 0)
        await writer.add({ name: "tls/docker", type: "directory", mode: 0o700 });
      for (const file of files) {
        const pem = readFileSync(`${tlsDirectory(config, name)}/docker/${file}`);
        await writer.add({ name: `tls/docker/${file}`, mode: 0o600 }, pem);
      }
      await writer.end();
    } finally {
      if (fd !== STDOUT) closeSync(fd);
    }
    if (target !== "-") printLine(`Written file "${target}"`);
    return 0;
  },
};

function openNew(path: string): number {
  if (existsSync(path)) throw conflict(`open ${path}: file exists`);
  try {
    return openSync(path, "wx", 0o600);
  } catch (cause) {
    throw invalid(sentenceOf(cause), { cause });
  }
}

export const importCommand: Command = {
  flags: [],
  async run({ args, session }) {
    const [name = "", source = ""] = args;
    checkName(name);
    if (listContexts(session.configDirectory).some(({ Name }) => Name === name)) {
      throw conflict(`context "${name}" already exists`);
    }
    if (source !== "-" && !existsSync(source)) {
      throw notFound(`open ${source}: no such file or directory`);
    }
    const { meta, tls } = await readArchive(source === "-" ? STDIN_PATH : source);
    createContext(session.configDirectory, { ...meta, Name: name }, tls);
    printLine(name);
    warn(`Successfully imported context "${name}"`);
    return 0;
  },
};

interface Imported {
  readonly meta: ContextMeta;
  readonly tls: Partial<Record<TlsFile, string>>;
}

/** Only the entries a context has; their names never become paths. */
async function readArchive(path: string): Promise<Imported> {
  const tls: Imported["tls"] = {};
  let meta: ContextMeta | undefined;
  let leftBytes = IMPORT_LIMIT_BYTES;
  for await (const { name, bytes: read } of filesOf(await readBounded(path))) {
    if (name !== "meta.json" && !name.startsWith("tls/")) {
      throw invalid(`${name}: unexpected context file`);
    }
    const file = TLS_FILES.find((known) => name === `tls/docker/${known}.pem`);
    if (name !== "meta.json" && file === undefined) continue;
    const bytes = await read(leftBytes);
    leftBytes -= bytes.length;
    const text = new TextDecoder().decode(bytes);
    if (file !== undefined) tls[file] = text;
    else meta = parseMeta(text);
  }
  if (meta === undefined) throw invalid("invalid context: no metadata found");
  return { meta, tls };
}

interface ArchivedFile {
  readonly name: string;
  readonly bytes: (limitBytes: number) => Promise<Uint8Array> | Uint8Array;
}

/** The files of a tar or a zip, whichever it is. */
async function* filesOf(archive: Buffer): AsyncGenerator<ArchivedFile> {
  if (isZip(archive)) {
    for (const entry of zipEntries(archive)) {
      yield { name: entry.name, bytes: (limitBytes) => entry.bytes(limitBytes, tooLarge) };
    }
    return;
  }
  for await (const entry of readTarEntries(new Blob([new Uint8Array(archive)]).stream())) {
    if (entry.header.type !== "file") continue;
    yield { name: entry.name, bytes: (limitBytes) => entry.bytes(limitBytes, tooLarge) };
  }
}

const tooLarge = () => invalid("context archive is too large");

async function readBounded(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > IMPORT_LIMIT_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseMeta(text: string): ContextMeta {
  try {
    const meta = JSON.parse(text) as Partial<ContextMeta> | null;
    const { Metadata = {}, Endpoints = {}, Name = "" } = meta ?? {};
    if (typeof Metadata !== "object" || typeof Endpoints !== "object") throw new Error("not a map");
    return { Name, Metadata, Endpoints };
  } catch (cause) {
    throw new ExitError(1, `invalid context: meta.json: ${sentenceOf(cause)}`);
  }
}
