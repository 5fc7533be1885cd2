/** A registry in memory for tests: keeps what is pushed, serves what it has, and lets a test stand in between. */
import { type Digest, digestOf, MEDIA_TYPE } from "#oci";

export interface SmallRegistry extends Disposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly blobs: Map<string, Uint8Array>;
  /** By repository and tag or digest: `a/b:latest`, `a/b@sha256:…`. */
  readonly manifests: Map<string, { bytes: Uint8Array; mediaType: string }>;
  /** Requests for blobs' bytes, by digest. */
  readonly fetched: string[];
  /** Answers instead of the registry, or null to let it. */
  intercept: (request: Request, url: URL) => Response | Promise<Response> | null;
  addBlob(bytes: Uint8Array | string): { digest: Digest; size: number };
  addManifest(name: string, manifest: object): Digest;
}

const REPOSITORY = /^\/v2\/(.+)\/(manifests|blobs|tags)\/(.*)$/;

export function startSmallRegistry(): SmallRegistry {
  const registry: Omit<SmallRegistry, "host" | typeof Symbol.dispose> = {
    blobs: new Map(),
    manifests: new Map(),
    fetched: [],
    intercept: () => null,
    addBlob(content) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      registry.blobs.set(digestOf(bytes), bytes);
      return { digest: digestOf(bytes), size: bytes.length };
    },
    addManifest(name, manifest) {
      const bytes = new TextEncoder().encode(JSON.stringify(manifest));
      const { mediaType = MEDIA_TYPE.dockerManifest } = manifest as { mediaType?: string };
      const [repository] = name.split(":");
      registry.manifests.set(name, { bytes, mediaType });
      registry.manifests.set(`${repository}@${digestOf(bytes)}`, { bytes, mediaType });
      return digestOf(bytes);
    },
  };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const url = new URL(request.url);
      const [, repository = "", kind = "", name = ""] = REPOSITORY.exec(url.pathname) ?? [];
      const intercepted = kind === "" ? null : await registry.intercept(request, url);
      if (intercepted) return intercepted;
      if (kind === "manifests")
        return await manifestAnswer(registry, { request, repository, name });
      if (kind === "blobs") return await blobAnswer(registry, { request, url, name });
      return new Response("{}");
    },
  });
  return Object.assign(registry, {
    host: `127.0.0.1:${server.port}`,
    [Symbol.dispose]: () => void server.stop(true),
  });
}

type State = Pick<SmallRegistry, "blobs" | "manifests" | "fetched">;

const unknown = (code: string, message: string): Response =>
  Response.json({ errors: [{ code, message }] }, { status: 404 });

async function manifestAnswer(
  { manifests }: State,
  { request, repository, name }: { request: Request; repository: string; name: string },
): Promise<Response> {
  const key = `${repository}${name.includes(":") ? "@" : ":"}${name}`;
  if (request.method === "PUT") {
    const bytes = await request.bytes();
    const entry = { bytes, mediaType: request.headers.get("content-type") ?? "" };
    manifests.set(key, entry);
    manifests.set(`${repository}@${digestOf(bytes)}`, entry);
    return new Response(null, { status: 201 });
  }
  const found = manifests.get(key);
  if (!found) return unknown("MANIFEST_UNKNOWN", "manifest unknown");
  return new Response(found.bytes as Uint8Array<ArrayBuffer>, {
    headers: { "content-type": found.mediaType },
  });
}

async function blobAnswer(
  { blobs, fetched }: State,
  { request, url, name }: { request: Request; url: URL; name: string },
): Promise<Response> {
  const place = (id: string) => new Response(null, { status: 202, headers: { location: id } });
  switch (request.method) {
    case "POST": {
      const mounted = url.searchParams.get("mount");
      if (mounted !== null && blobs.has(mounted)) return new Response(null, { status: 201 });
      return place(crypto.randomUUID());
    }
    case "PATCH":
      blobs.set(name, await request.bytes());
      return place(name.replace("uploads/", ""));
    case "PUT": {
      const bytes = blobs.get(name) ?? new Uint8Array();
      blobs.delete(name);
      const digest = url.searchParams.get("digest") ?? "";
      if (digest !== digestOf(bytes)) return unknown("DIGEST_INVALID", "digest invalid");
      blobs.set(digest, bytes);
      return new Response(null, { status: 201 });
    }
    default: {
      const bytes = blobs.get(name);
      if (!bytes) return unknown("BLOB_UNKNOWN", "blob unknown to registry");
      if (request.method === "GET") fetched.push(name);
      return new Response(bytes as Uint8Array<ArrayBuffer>);
    }
  }
}
