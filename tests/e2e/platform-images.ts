/** Images for several platforms, made for tests: OCI layouts with attestations, as buildx writes them. */
import { createHash } from "node:crypto";

import { baseImage } from "./engine.ts";

export const HERE = process.arch === "arm64" ? "arm64" : "amd64";
/** Another one; what it holds runs here all the same. */
export const OTHER = HERE === "amd64" ? "arm64" : "amd64";

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface Layout {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly index: Blob;
  /** Of the images, by architecture. */
  readonly manifests: Readonly<Record<string, Blob>>;
  readonly attestations: readonly Blob[];
}

const digestOf = (bytes: Uint8Array): string =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const jsonOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** A tar of one small file. */
export function fileTar(name: string, text: string): Uint8Array {
  const header = Buffer.alloc(512);
  header.write(name);
  header.write("0000644\0", 100);
  header.write("0000000\0".repeat(2), 108);
  header.write(`${text.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0        0", 136);
  header.write("ustar\u000000", 257);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const body = Buffer.alloc(Math.ceil(text.length / 512) * 512);
  body.write(text);
  return new Uint8Array(Buffer.concat([header, body, Buffer.alloc(1024)]));
}

/**
 * @param request.platforms as `--platform` writes them: each has /platform, which tells it
 * @param request.compress what the layers are packed with: gzip unless told
 */
export async function layoutOf(request: {
  readonly name?: string;
  readonly platforms: readonly string[];
  readonly attested?: boolean;
  /** What attestations state, instead of something short. */
  readonly statement?: Uint8Array;
  readonly base?: boolean;
  readonly compress?: { pack: (tar: Uint8Array) => Uint8Array; mediaType: string };
}): Promise<Layout> {
  const files = new Map<string, Uint8Array>();
  const add = (mediaType: string, bytes: Uint8Array): Blob => {
    const digest = digestOf(bytes);
    files.set(`blobs/sha256/${digest.slice("sha256:".length)}`, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const {
    compress = {
      pack: (tar) => Bun.gzipSync(new Uint8Array(tar)),
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    },
  } = request;
  const base = request.base === false ? [] : [await Bun.file(await baseImage("busybox")).bytes()];
  const entries: object[] = [];
  const manifests: Record<string, Blob> = {};
  const attestations: Blob[] = [];
  for (const text of request.platforms) {
    const [os = "", architecture = "", variant] = text.split("/");
    const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
    const tars = [...base, fileTar("platform", `${text}\n`)];
    const config = add(
      "application/vnd.oci.image.config.v1+json",
      jsonOf({
        ...platform,
        created: "2026-01-02T03:04:05Z",
        config: { Cmd: ["cat", "/platform"], Labels: { for: text } },
        rootfs: { type: "layers", diff_ids: tars.map(digestOf) },
        history: tars.map((_tar, position) => ({ created_by: `${text} ${position}` })),
      }),
    );
    const layers = tars.map((tar) => add(compress.mediaType, compress.pack(tar)));
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const manifest = add(mediaType, jsonOf({ schemaVersion: 2, mediaType, config, layers }));
    manifests[architecture] = manifest;
    entries.push({ ...manifest, platform });
    if (request.attested !== true) continue;
    const statement = add(
      "application/vnd.in-toto+json",
      request.statement ??
        jsonOf({ _type: "https://in-toto.io/Statement/v0.1", subject: [{ name: text }] }),
    );
    const about = add(
      "application/vnd.oci.image.config.v1+json",
      jsonOf({
        architecture: "unknown",
        os: "unknown",
        rootfs: { type: "layers", diff_ids: [statement.digest] },
      }),
    );
    const attestation = add(
      mediaType,
      jsonOf({ schemaVersion: 2, mediaType, config: about, layers: [statement] }),
    );
    attestations.push(attestation);
    entries.push({
      ...attestation,
      annotations: {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": manifest.digest,
      },
      platform: { architecture: "unknown", os: "unknown" },
    });
  }
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const index = add(mediaType, jsonOf({ schemaVersion: 2, mediaType, manifests: entries }));
  const annotations =
    request.name === undefined
      ? {}
      : {
          annotations: {
            "io.containerd.image.name": request.name,
            "org.opencontainers.image.ref.name": "latest",
          },
        };
  files.set(
    "index.json",
    jsonOf({ schemaVersion: 2, mediaType, manifests: [{ ...index, ...annotations }] }),
  );
  files.set("oci-layout", jsonOf({ imageLayoutVersion: "1.0.0" }));
  return { files, index, manifests, attestations };
}

/** Puts a layout into a registry as it is, under a tag. */
export async function upload(layout: Layout, to: { host: string; name: string }): Promise<void> {
  const base = `http://${to.host}/v2/${to.name}`;
  const must = async (answer: Promise<Response>) => {
    const response = await answer;
    if (!response.ok) throw new Error(`${response.url}: ${await response.text()}`);
    return response;
  };
  const manifests = new Set(
    [layout.index, ...Object.values(layout.manifests), ...layout.attestations].map(
      ({ digest }) => digest,
    ),
  );
  const put = async (tagOrDigest: string, digest: string, mediaType: string) => {
    const body = layout.files.get(
      `blobs/sha256/${digest.slice("sha256:".length)}`,
    ) as Uint8Array<ArrayBuffer>;
    const headers = { "content-type": mediaType };
    await must(fetch(`${base}/manifests/${tagOrDigest}`, { method: "PUT", body, headers }));
  };
  for (const [path, bytes] of layout.files) {
    const digest = `sha256:${path.split("/").at(-1)}`;
    if (!path.startsWith("blobs/") || manifests.has(digest)) continue;
    const begun = await must(fetch(`${base}/blobs/uploads/`, { method: "POST" }));
    const place = new URL(begun.headers.get("location") ?? "", base);
    place.searchParams.set("digest", digest);
    await must(fetch(place, { method: "PUT", body: bytes as Uint8Array<ArrayBuffer> }));
  }
  for (const { digest, mediaType } of [
    ...Object.values(layout.manifests),
    ...layout.attestations,
  ]) {
    await put(digest, digest, mediaType);
  }
  await put("latest", layout.index.digest, layout.index.mediaType);
}

/** The layout as an archive. */
export function archiveOf({ files }: Pick<Layout, "files">): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, bytes] of files) {
    const header = fileTar(name, "").subarray(0, 512);
    const text = Buffer.from(header.buffer, header.byteOffset, 512);
    text.write(`${bytes.length.toString(8).padStart(11, "0")}\0`, 124);
    text.write("        ", 148);
    const sum = text.reduce((all, byte) => all + byte, 0);
    text.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    parts.push(header, bytes, new Uint8Array((512 - (bytes.length % 512)) % 512));
  }
  return new Uint8Array(Buffer.concat([...parts, new Uint8Array(1024)]));
}
