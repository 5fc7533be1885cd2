/** The exporters `local` and `tar`: files of the results at the client, of several platforms in a folder each. */
import { invalid } from "#base";
import type { Found, SolvedBuild, SourceNode } from "#engine/build";
import { digestOf, formatPlatform } from "#oci";
import {
  bytesMessage,
  create,
  dataPacket,
  fromBinary,
  type GrpcMessage,
  type GrpcStream,
  PacketSchema,
  statPacket,
  toBinary,
} from "#wire/grpc";

import type { ExportedResult, Exporting } from "./exporting.ts";
import { goModeOf } from "./go-mode.ts";
import { told } from "./session.ts";

const PIECE_BYTES = 256 * 1024;
/** Messages that are gathered before they are sent; a message costs so much beside its bytes. */
const GATHERED_BYTES = 256 * 1024;
const MESSAGE_BYTES = 128;
/** Of a local folder. */
const PACKET = { stat: 0, request: 1, data: 2, fin: 3, error: 4 } as const;

type Attributes = Readonly<Record<string, string>>;

/** A result on its way into a folder of its own, or into the only one. */
interface Part {
  readonly solved: SolvedBuild;
  /** "" or a folder's name. */
  readonly folder: string;
  /** What is said about it, by file names. */
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

async function partsOf(attributes: Attributes, exporting: Exporting): Promise<Part[]> {
  const { results, isMany, isAttested } = exporting;
  const asked = attributes["platform-split"];
  const isSplit = asked === undefined ? isMany : /^(?:1|t|true)$/i.test(asked);
  const prefix = attributes["attestation-prefix"] ?? "";
  const parts: Part[] = [];
  for (const result of results) {
    const name = formatPlatform(result.solved.platform).replaceAll("/", "_");
    const files = isAttested ? await statementsOf(result, prefix) : new Map();
    parts.push({ solved: result.solved, folder: isSplit ? name : "", files });
  }
  if (!isSplit && parts.length > 1) checkApart(parts);
  return parts.toSorted((a, b) => (a.folder < b.folder ? -1 : 1));
}

/** Platforms in one folder must not have the same names. */
function checkApart(parts: readonly Part[]): void {
  const seen = new Set<string>();
  for (const { solved } of parts) {
    for (const name of solved.tree.list("")) {
      if (seen.has(name)) throw invalid(`cannot overwrite ${name} from another platform`);
      seen.add(name);
    }
  }
}

/** About files there is no manifest to name: a statement names each of them. */
async function statementsOf(
  { solved, statements }: ExportedResult,
  prefix: string,
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const subject: object[] = [];
  for (const { path, node } of walk(solved)) {
    if (node.type !== "file") continue;
    const sha256 = solved.tree.digestOf(path, node);
    subject.push({ name: Buffer.from(path, "latin1").toString(), digest: { sha256 } });
  }
  const nobody = digestOf(new Uint8Array(0));
  return new Map(
    statements({ names: [], digest: nobody }).map(({ fileName, isOfImage, bytes }) => {
      const said: object = JSON.parse(new TextDecoder().decode(bytes));
      const about = isOfImage ? { ...said, subject } : said;
      return [prefix + fileName, new TextEncoder().encode(JSON.stringify(about))];
    }),
  );
}

function* walk({ tree }: Pick<SolvedBuild, "tree">, folder = ""): Generator<Found> {
  for (const name of tree.list(folder)) {
    const path = folder === "" ? name : `${folder}/${name}`;
    const node = tree.at(path);
    if (node === null) continue;
    yield { path, node };
    if (node.type === "directory") yield* walk({ tree }, path);
  }
}

export async function exportTar(
  index: number,
  attributes: Attributes,
  exporting: Exporting,
): Promise<void> {
  const client = await exporting.session();
  await exporting.progress.during("exporting to client tarball", async (done) => {
    using stream = client.openOutput(index, exporting.signal);
    try {
      await sendBytes(stream, archiveOf(await partsOf(attributes, exporting)));
    } catch (cause) {
      throw told(cause);
    }
    await done("sending tarball");
  });
}

function* archiveOf(parts: readonly Part[]): Generator<Uint8Array> {
  for (const [at, { solved, folder, files }] of parts.entries()) {
    const prefix = folder === "" ? "" : `${folder}/`;
    yield* solved.tar({ prefix, files, isLast: at === parts.length - 1 });
  }
}

/** A stream of bytes; the client ends the call when it has written all of it. */
export async function sendBytes(
  stream: GrpcStream,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  for await (const bytes of source) {
    for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
      await stream.send(bytesMessage(bytes.subarray(from, from + PIECE_BYTES)));
    }
  }
  stream.end();
  for await (const messages of stream.messages()) void messages;
}

/** The other side of folders.ts: here the client asks for files. */
export async function exportFolder(
  index: number,
  attributes: Attributes,
  exporting: Exporting,
): Promise<void> {
  const client = await exporting.session();
  await exporting.progress.during("exporting to client directory", async (done) => {
    using stream = client.openOutput(index, exporting.signal);
    try {
      await sendFolder(stream, await partsOf(attributes, exporting));
    } catch (cause) {
      throw told(cause);
    }
    await done("copying files");
  });
}

/** By the numbers that the client knows them by. */
type SentFile = () => Iterable<Uint8Array>;

/** Small messages go together. */
class Gathering {
  readonly #stream: GrpcStream;
  #messages: GrpcMessage[] = [];
  #sizeBytes = 0;

  constructor(stream: GrpcStream) {
    this.#stream = stream;
  }

  /** @returns null where there is nothing to wait for */
  add(message: GrpcMessage, dataBytes: number): Promise<void> | null {
    this.#messages.push(message);
    this.#sizeBytes += dataBytes + MESSAGE_BYTES;
    return this.#sizeBytes < GATHERED_BYTES ? null : this.flush();
  }

  async flush(): Promise<void> {
    const messages = this.#messages;
    this.#messages = [];
    this.#sizeBytes = 0;
    if (messages.length > 0) await this.#stream.send(...messages);
  }
}

async function sendFolder(stream: GrpcStream, parts: readonly Part[]): Promise<void> {
  const files: SentFile[] = [];
  const telling = tellParts(stream, parts, files);
  telling.catch(() => undefined);
  const out = new Gathering(stream);
  for await (const messages of stream.messages()) {
    for (const bytes of messages) {
      const { type, id, data } = fromBinary(PacketSchema, bytes);
      if (type === PACKET.error) {
        throw invalid(`error from receiver: ${new TextDecoder().decode(data)}`);
      }
      if (type === PACKET.fin) {
        await telling;
        await out.flush();
        await stream.send(packet({ type: PACKET.fin }));
        stream.end();
        continue;
      }
      const file = type === PACKET.request ? files[id] : undefined;
      if (file === undefined) throw invalid(`invalid file id ${id}`);
      await sendFile(out, id, file());
    }
    await out.flush();
  }
}

async function sendFile(out: Gathering, id: number, source: Iterable<Uint8Array>): Promise<void> {
  for (const chunk of source) {
    for (let from = 0; from < chunk.length; from += PIECE_BYTES) {
      const data = chunk.subarray(from, from + PIECE_BYTES);
      const full = out.add(dataPacket(id, data), data.length);
      if (full !== null) await full;
    }
  }
  const full = out.add(dataPacket(id, new Uint8Array(0)), 0);
  if (full !== null) await full;
}

async function tellParts(
  stream: GrpcStream,
  parts: readonly Part[],
  files: SentFile[],
): Promise<void> {
  const out = new Gathering(stream);
  for (const part of parts) {
    if (part.folder !== "") {
      files.push(() => []);
      await out.add(statOf(part.folder, FOLDER, ""), part.folder.length);
    }
    await tellPart(out, part, files);
  }
  await out.flush();
  await stream.send(packet({ type: PACKET.stat }));
}

const PLAIN = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  mtimeSec: 0,
  devMajor: 0,
  devMinor: 0,
} as const;
const FOLDER = { ...PLAIN, type: "directory" } as const;

/** In the order of names, which the client insists on. */
async function tellPart(
  out: Gathering,
  { solved, folder, files: said }: Part,
  files: SentFile[],
): Promise<void> {
  const prefix = folder === "" ? "" : `${folder}/`;
  const links = new Map<string, string>();
  const waiting = [...said].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const tellSaid = async (before: string | null) => {
    for (let [next] = waiting; next !== undefined; [next] = waiting) {
      const [name, bytes] = next;
      if (before !== null && name > before) return;
      waiting.shift();
      files.push(() => [bytes]);
      const node = { ...PLAIN, type: "file", mode: 0o644, sizeBytes: bytes.length } as const;
      await out.add(statOf(prefix + name, node, ""), name.length);
    }
  };
  for (const { path, node } of walk(solved)) {
    if (waiting.length > 0 && !path.includes("/")) await tellSaid(path);
    const first = node.identity === "" ? undefined : links.get(node.identity);
    if (node.identity !== "" && first === undefined) links.set(node.identity, prefix + path);
    files.push(() => (node.type === "file" ? solved.read(node) : []));
    const full = out.add(statOf(prefix + path, node, first ?? node.link ?? ""), path.length);
    if (full !== null) await full;
  }
  await tellSaid(null);
}

type ToldNode = Pick<SourceNode, "type" | keyof typeof PLAIN>;

function statOf(path: string, node: ToldNode, link: string): Uint8Array {
  const { type, uid, gid, sizeBytes, mtimeSec, devMajor, devMinor } = node;
  const mode = goModeOf(type, node.mode);
  const modTime = BigInt(mtimeSec) * 1_000_000_000n;
  return statPacket({ path, mode, uid, gid, sizeBytes, modTime, link, devMajor, devMinor });
}

const packet = (init: { type: number }): Uint8Array =>
  toBinary(PacketSchema, create(PacketSchema, init));
