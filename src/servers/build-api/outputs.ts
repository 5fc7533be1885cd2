/**
 * What becomes of a build: an image with names, an archive or a folder at the client. The exporters are those of
 * Docker's own BuildKit without containerd's images.
 */
import { invalid } from "#base";
import type { Found, SolvedBuild, SourceNode } from "#engine/build";
import { type Digest, formatReference, parseReference, withDefaultTag } from "#oci";
import { create, fromBinary, type GrpcStream, PacketSchema, toBinary } from "#wire/grpc";

import { goModeOf } from "./go-mode.ts";
import type { Progress } from "./progress.ts";
import { bytesMessage, type Session, told } from "./session.ts";

export interface Output {
  readonly type: string;
  readonly attributes: Readonly<Record<string, string>>;
}

interface Exporting {
  readonly solved: SolvedBuild;
  readonly session: () => Promise<Session>;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

const PIECE_BYTES = 256 * 1024;
const OUTPUT_LIMIT = 16;
/** Of a local folder: files that are sent at once. */
const PACKET = { stat: 0, request: 1, data: 2, fin: 3, error: 4 } as const;
/**
 * What would make another image, and is not done. All else is about manifests and their blobs, which an image here gets
 * when it is pushed (`oci-mediatypes`, `compression`), or is the client's own (`push`, `load`): Docker's own exporter
 * takes it too.
 */
const REFUSED_ATTRIBUTE = /^(?:annotation.*|rewrite-timestamp|attestation-.*|source-date-epoch)$/;

/** Before anything is built. @throws EngineError "invalid" in BuildKit's words */
export function checkOutputs(outputs: readonly Output[]): void {
  if (outputs.length > OUTPUT_LIMIT) throw invalid("too many exporters");
  for (const { type, attributes } of outputs) {
    switch (type) {
      case "moby":
      case "image":
        for (const name of Object.keys(attributes)) {
          if (REFUSED_ATTRIBUTE.test(name)) {
            throw invalid(`exporter option ${JSON.stringify(name)} is not supported here`);
          }
        }
        referencesOf(attributes["name"] ?? "");
        break;
      case "local":
      case "tar":
        break;
      default:
        throw invalid(`exporter ${JSON.stringify(type)} could not be found`);
    }
  }
}

/** @returns what the client is told of it */
export async function exportAll(
  outputs: readonly Output[],
  exporting: Exporting,
): Promise<Record<string, string>> {
  const response: Record<string, string> = {};
  for (const [index, { type, attributes }] of outputs.entries()) {
    if (type === "tar") await exportTar(index, exporting);
    else if (type === "local") await exportFolder(index, exporting);
    else Object.assign(response, await exportImage(attributes, exporting));
  }
  return response;
}

async function exportImage(
  attributes: Output["attributes"],
  { solved, progress }: Exporting,
): Promise<Record<string, string>> {
  const names = referencesOf(attributes["name"] ?? "");
  return await progress.during("exporting to image", async (done) => {
    await done("exporting layers");
    const id: Digest = await solved.keep(names);
    await done(`writing image ${id}`);
    for (const name of names) await done(`naming to ${name}`);
    return {
      "containerimage.digest": id,
      "containerimage.config.digest": id,
      ...(names.length === 0 ? {} : { "image.name": names.join(",") }),
    };
  });
}

/** Whole references of `a,b:tag`. */
function referencesOf(text: string): string[] {
  const names = text.split(",").filter((name) => name !== "");
  const references = names.map((name) => {
    const reference = parseReference(name);
    if (reference.digest !== null) throw invalid("build tag cannot contain a digest");
    return formatReference(withDefaultTag(reference));
  });
  return [...new Set(references)];
}

async function exportTar(
  index: number,
  { solved, session, progress, signal }: Exporting,
): Promise<void> {
  const client = await session();
  await progress.during("exporting to client tarball", async (done) => {
    using stream = client.openOutput(index, signal);
    try {
      for (const bytes of solved.tar()) {
        for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
          await stream.send(bytesMessage(bytes.subarray(from, from + PIECE_BYTES)));
        }
      }
      await finish(stream);
    } catch (cause) {
      throw told(cause);
    }
    await done("sending tarball");
  });
}

/** The client ends the call when it has written all of it. */
async function finish(stream: GrpcStream): Promise<void> {
  stream.end();
  for await (const messages of stream.messages()) void messages;
}

/** The other side of folders.ts: here the client asks for files. */
async function exportFolder(
  index: number,
  { solved, session, progress, signal }: Exporting,
): Promise<void> {
  const client = await session();
  await progress.during("exporting to client directory", async (done) => {
    using stream = client.openOutput(index, signal);
    try {
      await sendFolder(stream, solved);
    } catch (cause) {
      throw told(cause);
    }
    await done("copying files");
  });
}

async function sendFolder(stream: GrpcStream, solved: SolvedBuild): Promise<void> {
  const files: Found[] = [];
  const telling = tellFolder(stream, solved, files);
  telling.catch(() => undefined);
  for await (const messages of stream.messages()) {
    for (const bytes of messages) {
      const { type, id, data } = fromBinary(PacketSchema, bytes);
      if (type === PACKET.error) {
        throw invalid(`error from receiver: ${new TextDecoder().decode(data)}`);
      }
      if (type === PACKET.fin) {
        await telling;
        await stream.send(packet({ type: PACKET.fin }));
        stream.end();
        continue;
      }
      const file = type === PACKET.request ? files[id] : undefined;
      if (file === undefined) throw invalid(`invalid file id ${id}`);
      await sendFile(stream, solved, { id, file });
    }
  }
}

async function tellFolder(stream: GrpcStream, solved: SolvedBuild, files: Found[]): Promise<void> {
  const { tree } = solved;
  const links = new Map<string, string>();
  const walk = async (folder: string): Promise<void> => {
    for (const name of tree.list(folder)) {
      const path = folder === "" ? name : `${folder}/${name}`;
      const node = tree.at(path);
      if (node === null) continue;
      const first = node.identity === "" ? undefined : links.get(node.identity);
      if (node.identity !== "" && first === undefined) links.set(node.identity, path);
      files.push({ path, node });
      await stream.send(statPacket(path, node, first ?? node.link ?? ""));
      if (node.type === "directory") await walk(path);
    }
  };
  await walk("");
  await stream.send(packet({ type: PACKET.stat }));
}

function statPacket(path: string, node: SourceNode, link: string): Uint8Array {
  const bytes = (text: string) => Buffer.from(text, "latin1");
  return toBinary(
    PacketSchema,
    create(PacketSchema, {
      type: PACKET.stat,
      stat: {
        path: bytes(path),
        mode: goModeOf(node.type, node.mode),
        uid: node.uid,
        gid: node.gid,
        size: BigInt(node.sizeBytes),
        modTime: BigInt(node.mtimeSec) * 1_000_000_000n,
        linkname: bytes(link),
        devmajor: BigInt(node.devMajor),
        devminor: BigInt(node.devMinor),
      },
    }),
  );
}

async function sendFile(
  stream: GrpcStream,
  solved: SolvedBuild,
  { id, file }: { id: number; file: Found },
): Promise<void> {
  const source = file.node.type === "file" ? solved.read(file.node) : null;
  for await (const chunk of source ?? []) {
    for (let from = 0; from < chunk.length; from += PIECE_BYTES) {
      const data = chunk.subarray(from, from + PIECE_BYTES);
      await stream.send(packet({ type: PACKET.data, id, data }));
    }
  }
  await stream.send(packet({ type: PACKET.data, id }));
}

const packet = (init: { type: number; id?: number; data?: Uint8Array }): Uint8Array =>
  toBinary(PacketSchema, create(PacketSchema, init));
