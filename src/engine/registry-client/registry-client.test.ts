import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { joinBytes, systemClock } from "#base";
import { MEDIA_TYPE, parseReference } from "#oci";

import {
  blobOf,
  type FakeAnswer,
  type FakeRegistry,
  startFakeRegistry,
  startRawServer,
} from "./fake-registry.ts";
import {
  type Credentials,
  openRegistryClient,
  pullError,
  type RegistryOptions,
  type Repository,
} from "./index.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const quick = { ...systemClock, sleep: () => Promise.resolve() };
const secret: Credentials = { username: "rex", password: "bone" };
const BASIC = `Basic ${btoa("rex:bone")}`;

function registry(answer: FakeAnswer): FakeRegistry {
  const fake = startFakeRegistry(answer);
  cleanups.push(() => fake[Symbol.dispose]());
  return fake;
}

const at = <T>(
  host: string,
  work: (repository: Repository) => Promise<T>,
  options: { credentials?: Credentials; registry?: RegistryOptions; signal?: AbortSignal } = {},
): Promise<T> =>
  openRegistryClient({ clock: quick, ...options.registry }).withRepository(
    {
      domain: host,
      path: "x",
      actions: "pull",
      signal: options.signal ?? new AbortController().signal,
      ...(options.credentials ? { credentials: options.credentials } : {}),
    },
    work,
  );

const signal = new AbortController().signal;
const fetchManifest = (repository: Repository) => repository.manifest("latest", { signal });
const messageOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    (value) => `no failure: ${JSON.stringify(value)}`,
    (thrown: unknown) => (thrown instanceof Error ? thrown.message : String(thrown)),
  );
const readBlob = async (stream: ReadableStream<Uint8Array>): Promise<Uint8Array> => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return joinBytes(chunks);
};
const json = (value: unknown, init?: ResponseInit): Response => Response.json(value, init);
const registryError = (status: number, code: string, message: string): Response =>
  json({ errors: [{ code, message }] }, { status });
const manifestBytes = JSON.stringify({ schemaVersion: 2, manifests: [] });
const manifestResponse = (): Response =>
  new Response(manifestBytes, { headers: { "content-type": `${MEDIA_TYPE.ociIndex}; a=b` } });

describe("manifests", () => {
  test("come with the digest of their bytes and their type", async () => {
    const fake = registry(() => manifestResponse());
    const manifest = await at(fake.host, fetchManifest);
    expect(manifest.digest).toBe(blobOf(manifestBytes).digest);
    expect(manifest.mediaType).toBe(MEDIA_TYPE.ociIndex);
  });

  test("that are not what their digest says are refused", async () => {
    const fake = registry(() => manifestResponse());
    const { digest } = blobOf("other");
    expect(await messageOf(at(fake.host, (at) => at.manifest(digest, { signal })))).toBe(
      `manifest verification failed for digest ${digest}`,
    );
  });

  test("that are huge are refused before they are read, with or without a stated length", async () => {
    let sent = 0;
    const endless = registry(
      (_request, url) =>
        new Response(
          url.pathname === "/v2/"
            ? null
            : new ReadableStream({
                pull: (controller) => {
                  sent += 65536;
                  controller.enqueue(new Uint8Array(65536));
                },
              }),
        ),
    );
    expect(await messageOf(at(endless.host, fetchManifest))).toContain("larger than 4194304 bytes");
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    const stated = startRawServer((request) =>
      request.includes("/manifests/")
        ? "HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n{"
        : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    cleanups.push(() => stated[Symbol.dispose]());
    expect(await messageOf(at(stated.host, fetchManifest))).toContain("larger than 4194304 bytes");
  });

  const refusals: [number, string, string, string][] = [
    [
      404,
      "MANIFEST_UNKNOWN",
      "manifest unknown",
      "manifest for H/x:1 not found: manifest unknown: manifest unknown",
    ],
    [
      404,
      "NAME_UNKNOWN",
      "repository name not known to registry",
      "repository H/x not found: name unknown: repository name not known to registry",
    ],
    [
      403,
      "DENIED",
      "requested access to the resource is denied",
      "pull access denied for H/x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
    ],
    [
      429,
      "TOOMANYREQUESTS",
      "You have reached your pull rate limit.",
      "toomanyrequests: You have reached your pull rate limit.",
    ],
    [400, "WEIRD", "what", "unknown: what"],
  ];
  test.each(refusals)(
    "%d %s is said in Docker's words",
    async (status, code, message, sentence) => {
      const fake = registry((_request, url) =>
        url.pathname === "/v2/" ? json({}) : registryError(status, code, message),
      );
      const reference = parseReference(`${fake.host}/x:1`);
      const failure: unknown = await at(fake.host, fetchManifest).catch(
        (thrown: unknown) => thrown,
      );
      const shown = pullError(reference, failure) as Error;
      expect(shown.message).toBe(sentence.replace("H", fake.host));
    },
  );

  test("a failing server is asked again, but not for ever", async () => {
    let left = 2;
    const recovering = registry((_request, url) => {
      if (url.pathname === "/v2/") return json({});
      left -= 1;
      return left >= 0 ? new Response("oops", { status: 503 }) : manifestResponse();
    });
    expect((await at(recovering.host, fetchManifest)).mediaType).toBe(MEDIA_TYPE.ociIndex);
    const failing = registry((_request, url) =>
      url.pathname === "/v2/" ? json({}) : new Response("oops", { status: 500 }),
    );
    expect(await messageOf(at(failing.host, fetchManifest))).toBe(
      "received unexpected HTTP status: 500 Internal Server Error",
    );
    expect(failing.seen.length).toBeLessThan(8);
  });
});

describe("a registry that is not there", () => {
  test("is said as Go's client says it", async () => {
    expect(await messageOf(at("127.0.0.1:1", fetchManifest))).toBe(
      'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
    );
    expect(await messageOf(at("nohost.invalid", fetchManifest))).toStartWith(
      'Get "https://nohost.invalid/v2/": dial tcp: lookup nohost.invalid: ',
    );
  });

  test("that never answers ends by time-out, and by abort with its reason", async () => {
    const gate = Promise.withResolvers<Response>();
    const fake = registry(() => gate.promise);
    const limits = { headersTimeoutMs: 50 };
    expect(await messageOf(at(fake.host, fetchManifest, { registry: { limits } }))).toContain(
      "Client.Timeout exceeded",
    );
    const abort = new AbortController();
    const pulled = at(fake.host, fetchManifest, { signal: abort.signal });
    abort.abort(new Error("context canceled"));
    expect(await messageOf(pulled)).toBe("context canceled");
    gate.resolve(new Response());
  });

  test("plain http is refused for a host that is not on loopback", async () => {
    const fake = registry(() => manifestResponse());
    const port = fake.host.split(":")[1];
    const [own] = Object.values((await import("node:os")).networkInterfaces())
      .flat()
      .filter((address) => address?.family === "IPv4" && !address.internal);
    if (!own) return;
    const message = await messageOf(at(`${own.address}:${port}`, fetchManifest));
    expect(message).toStartWith(`Get "https://${own.address}:${port}/v2/": `);
  });
});

describe("credentials", () => {
  const basicGuard: FakeAnswer = (request, url) => {
    if (request.headers.get("authorization") !== BASIC) {
      const headers = { "www-authenticate": 'Basic realm="r"' };
      return json(
        { errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] },
        { status: 401, headers },
      );
    }
    return url.pathname === "/v2/" ? json({}) : manifestResponse();
  };

  test("are sent as Basic when asked for", async () => {
    const fake = registry(basicGuard);
    await at(fake.host, fetchManifest, { credentials: secret });
    expect(fake.seen.map(({ authorization }) => authorization)).toEqual([null, BASIC]);
  });

  test("that are missing or wrong are said in Docker's words, without a loop", async () => {
    const fake = registry(basicGuard);
    expect(await messageOf(at(fake.host, fetchManifest))).toBe(
      `Get "http://${fake.host}/v2/x/manifests/latest": no basic auth credentials`,
    );
    const wrong = { username: "rex", password: "cat" };
    expect(await messageOf(at(fake.host, fetchManifest, { credentials: wrong }))).toBe(
      "unauthorized: authentication required",
    );
    expect(fake.seen.length).toBe(3);
  });

  function tokenRegistry(isGood: (authorization: string | null) => boolean): FakeRegistry {
    const fake: FakeRegistry = registry(async (request, url) => {
      if (url.pathname === "/token") {
        const body = request.method === "POST" ? await request.text() : "";
        return json({
          token: `t-${request.method}-${new URLSearchParams(body).get("refresh_token") ?? ""}`,
        });
      }
      if (isGood(request.headers.get("authorization"))) return manifestResponse();
      const challenge = `Bearer realm="http://${fake.host}/token",service="s",scope="repository:x:pull"`;
      return json({}, { status: 401, headers: { "www-authenticate": challenge } });
    });
    return fake;
  }

  test("become a token of the stated realm, anonymously, by password or by identity token", async () => {
    const fake = tokenRegistry((header) => header?.startsWith("Bearer t-") ?? false);
    await at(fake.host, fetchManifest);
    await at(fake.host, fetchManifest, { credentials: secret });
    await at(fake.host, fetchManifest, { credentials: { identityToken: "id-1" } });
    const asked = fake.seen.filter(({ line }) => line.includes("/token"));
    expect(asked).toEqual([
      { line: "GET /token?service=s&scope=repository%3Ax%3Apull", authorization: null },
      {
        line: "GET /token?service=s&scope=repository%3Ax%3Apull&account=rex",
        authorization: BASIC,
      },
      { line: "POST /token", authorization: null },
    ]);
    expect(fake.seen.at(-1)?.authorization).toBe("Bearer t-POST-id-1");
  });

  test("of a login become a token that is kept instead of the password, if there is one", async () => {
    const fake: FakeRegistry = registry((request, url) => {
      if (url.pathname === "/token") return json({ token: "t", refresh_token: "kept" });
      if (request.headers.get("authorization") === "Bearer t") return json({});
      const challenge = `Bearer realm="http://${fake.host}/token",service="s"`;
      return json({}, { status: 401, headers: { "www-authenticate": challenge } });
    });
    const client = openRegistryClient({ clock: quick });
    const login = { serverAddress: fake.host, credentials: secret, signal };
    expect(await client.login(login)).toEqual({ identityToken: "kept" });
    expect(fake.seen.find(({ line }) => line.includes("/token"))?.line).toBe(
      "GET /token?service=s&account=rex&offline_token=true&client_id=naru",
    );
    const plain = registry(basicGuard);
    expect(await client.login({ ...login, serverAddress: plain.host })).toEqual({
      identityToken: "",
    });
  });

  test("a registry that never accepts its own tokens ends in an error, not a loop", async () => {
    const fake = tokenRegistry(() => false);
    expect(await messageOf(at(fake.host, fetchManifest))).toBe(
      "unauthorized: authentication required",
    );
    expect(fake.seen.length).toBeLessThan(8);
  });

  test("insufficient scope is said as denied", async () => {
    const fake: FakeRegistry = registry((_request, url) => {
      if (url.pathname === "/token") return json({ token: "t" });
      const challenge = `Bearer realm="http://${fake.host}/token",service="s",error="insufficient_scope"`;
      return json({}, { status: 401, headers: { "www-authenticate": challenge } });
    });
    expect(await messageOf(at(fake.host, fetchManifest))).toBe(
      "denied: requested access to the resource is denied",
    );
  });

  test("never follow a redirect to another host, nor answer its challenge", async () => {
    const thief = registry(
      () => new Response("", { status: 401, headers: { "www-authenticate": 'Basic realm="r"' } }),
    );
    const fake: FakeRegistry = registry((request, url) => {
      if (url.pathname !== "/v2/" && request.headers.get("authorization") === BASIC) {
        return new Response(null, {
          status: 307,
          headers: { location: `http://rex:bone@${thief.host}/steal` },
        });
      }
      return basicGuard(request, url);
    });
    await messageOf(at(fake.host, fetchManifest, { credentials: secret }));
    expect(thief.seen.length).toBeGreaterThan(0);
    expect(thief.seen.map(({ authorization }) => authorization)).toEqual([null]);
  });

  test("follow a redirect within the host", async () => {
    const fake: FakeRegistry = registry((request, url) =>
      url.pathname.endsWith("/latest")
        ? new Response(null, { status: 302, headers: { location: "/v2/x/manifests/real" } })
        : basicGuard(request, url),
    );
    await at(fake.host, fetchManifest, { credentials: secret });
    expect(fake.seen.at(-1)).toEqual({ line: "GET /v2/x/manifests/real", authorization: BASIC });
  });

  test("never reach a mirror, which is asked first and may fail", async () => {
    const mirror = registry((_request, url) =>
      url.pathname === "/v2/" ? json({}) : manifestResponse(),
    );
    const client = openRegistryClient({ clock: quick, mirrors: [`http://${mirror.host}`] });
    const request = { domain: "docker.io", path: "library/x", actions: "pull", signal } as const;
    await client.withRepository({ ...request, credentials: secret }, fetchManifest);
    expect(mirror.seen.map(({ authorization }) => authorization)).toEqual([null, null]);
  });

  test("a mirror that fails is passed by, and what is sent never goes to one", async () => {
    const refusing = registry(() => json({}, { status: 500 }));
    const good = registry((_request, url) =>
      url.pathname === "/v2/" ? json({}) : manifestResponse(),
    );
    const mirrors = [refusing, good].map(({ host }) => `http://${host}`);
    const client = openRegistryClient({ clock: quick, mirrors });
    const request = { domain: "docker.io", path: "library/x", signal } as const;
    await client.withRepository({ ...request, actions: "pull" }, fetchManifest);
    expect(refusing.seen.length).toBeGreaterThan(0);
    const before = good.seen.length;
    // Nobody is there: the registry itself is out of reach of this test.
    const { HTTPS_PROXY: proxy } = process.env;
    process.env["HTTPS_PROXY"] = "http://127.0.0.1:9";
    try {
      const sent = client.withRepository({ ...request, actions: "pull,push" }, fetchManifest);
      expect(await messageOf(sent)).toContain("registry-1.docker.io");
    } finally {
      if (proxy === undefined) delete process.env["HTTPS_PROXY"];
      else process.env["HTTPS_PROXY"] = proxy;
    }
    expect(good.seen.length).toBe(before);
  });

  test("a redirect loop ends", async () => {
    const fake = registry((_request, url) =>
      url.pathname === "/v2/"
        ? json({})
        : new Response(null, { status: 302, headers: { location: url.pathname } }),
    );
    expect(await messageOf(at(fake.host, fetchManifest))).toContain("stopped after 10 redirects");
  });
});

/** Some bytes, and then nothing for ever. */
const stalling = (bytes: Uint8Array<ArrayBuffer>) =>
  new ReadableStream({
    start: (controller) => controller.enqueue(bytes),
    pull: () => new Promise(() => null),
  });

describe("blobs", () => {
  const content = new Uint8Array(300_000).map((_value, index) => index % 251);
  const blob = blobOf(content);
  const pull = (host: string, options?: Parameters<typeof at>[2]) =>
    at(host, (repository) => readBlob(repository.blob(blob, signal)), options);

  /** Sends `piece` bytes a connection; the connection is cut then, or when told to. */
  function cutting(withRanges: boolean, piece: (connection: number) => number, isHeld = false) {
    let connections = 0;
    const isBlob = (request: string): boolean => request.includes("/blobs/");
    const reply = (request: string): Uint8Array | string => {
      if (!isBlob(request)) return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
      const range = /range: bytes=(\d+)-/i.exec(request)?.[1];
      const start = withRanges && range !== undefined ? Number(range) : 0;
      connections += 1;
      const body = content.subarray(start, start + piece(connections));
      const head =
        start > 0 ? `206 Partial\r\nContent-Range: bytes ${start}-299999/300000` : "200 OK";
      const length = `Content-Length: ${content.length - start}`;
      return joinBytes([new TextEncoder().encode(`HTTP/1.1 ${head}\r\n${length}\r\n\r\n`), body]);
    };
    const fake = startRawServer(reply, (request) => isHeld && isBlob(request));
    cleanups.push(() => fake[Symbol.dispose]());
    return fake;
  }

  /** Downloads the blob, cutting the connection each time `piece` more bytes have come. */
  async function pullCutAt(piece: number, withRanges: boolean) {
    const fake = cutting(withRanges, (count) => (withRanges ? piece : count * piece), true);
    const chunks: Uint8Array[] = [];
    await at(fake.host, async (repository) => {
      let received = 0;
      for await (const chunk of repository.blob(blob, signal)) {
        chunks.push(chunk);
        received += chunk.length;
        if (received % piece === 0) fake.cut();
      }
    });
    expect(blobOf(joinBytes(chunks)).digest).toBe(blob.digest);
    return fake.seen.filter(({ line }) => line.includes("/blobs/")).length;
  }

  test("go on by Range after cuts", async () => {
    expect(await pullCutAt(100_000, true)).toBe(3);
  });

  test("go on after cuts when the registry knows no Range", async () => {
    expect(await pullCutAt(110_000, false)).toBe(3);
  });

  test("that never end well are given up after bounded attempts", async () => {
    const fake = cutting(true, () => 10);
    expect(await messageOf(pull(fake.host))).toContain(`blob ${blob.digest}: `);
    expect(fake.seen.filter(({ line }) => line.includes("/blobs/")).length).toBe(5);
  });

  test("of another size than promised are refused", async () => {
    const longer = registry((_request, url) =>
      url.pathname === "/v2/" ? json({}) : new Response(joinBytes([content, content])),
    );
    expect(await messageOf(pull(longer.host))).toContain("600000 bytes, expected 300000");
    const chunked = registry((_request, url) =>
      url.pathname === "/v2/"
        ? json({})
        : new Response(
            new ReadableStream({
              pull: (controller) => controller.enqueue(content),
            }),
          ),
    );
    expect(await messageOf(pull(chunked.host))).toContain("larger than 300000 bytes");
  });

  test("that stall are asked for again", async () => {
    let connections = 0;
    const fake = registry((request, url) => {
      if (url.pathname === "/v2/") return json({});
      connections += 1;
      if (connections > 1) {
        const start = Number(/bytes=(\d+)-/.exec(request.headers.get("range") ?? "")?.[1]);
        const headers = { "content-range": `bytes ${start}-299999/300000` };
        return new Response(content.slice(start), { status: 206, headers });
      }
      return new Response(stalling(content.slice(0, 1000)));
    });
    const limits = { stallTimeoutMs: 50 };
    const read = await pull(fake.host, { registry: { limits } });
    expect(blobOf(read as Uint8Array<ArrayBuffer>).digest).toBe(blob.digest);
  });

  test("that a registry refuses in part are asked for whole", async () => {
    const ranges: (string | null)[] = [];
    const fake = registry((request, url) => {
      if (url.pathname === "/v2/") return json({});
      ranges.push(request.headers.get("range"));
      if (ranges.length === 1) return new Response(stalling(content.slice(0, 1000)));
      return request.headers.has("range")
        ? new Response(null, { status: 416 })
        : new Response(content);
    });
    const limits = { stallTimeoutMs: 50 };
    const read = await pull(fake.host, { registry: { limits } });
    expect(blobOf(read as Uint8Array<ArrayBuffer>).digest).toBe(blob.digest);
    expect(ranges).toEqual([null, "bytes=1000-", null]);
  });

  test("small ones are verified whole", async () => {
    const fake = registry((_request, url) =>
      url.pathname === "/v2/" ? json({}) : new Response("hullo"),
    );
    const hello = blobOf("hello");
    const limits = { signal, limitBytes: 10 };
    expect(await messageOf(at(fake.host, (at) => at.blobDocument(hello, limits)))).toContain(
      "verification failed",
    );
    const huge = { ...hello, size: 11 };
    expect(await messageOf(at(fake.host, (at) => at.blobDocument(huge, limits)))).toContain(
      "larger than 10 bytes",
    );
  });

  test("an abort ends the download at once", async () => {
    const abort = new AbortController();
    const fake = registry((_request, url) =>
      url.pathname === "/v2/"
        ? json({})
        : new Response(
            new ReadableStream({
              start: (controller) => controller.enqueue(content.slice(0, 1000)),
              pull: () => new Promise(() => null),
            }),
          ),
    );
    const read = at(fake.host, async (repository) => {
      for await (const chunk of repository.blob(blob, abort.signal)) {
        expect(chunk.length).toBeGreaterThan(0);
        abort.abort(new Error("context canceled"));
      }
    });
    expect(await messageOf(read)).toContain("context canceled");
  });
});

describe("tags", () => {
  test("come page by page, never from another host", async () => {
    const fake: FakeRegistry = registry((_request, url) => {
      if (url.pathname === "/v2/") return json({});
      const last = url.searchParams.get("last");
      const next = last ? "http://127.0.0.1:1/evil" : "/v2/x/tags/list?n=1000&last=b";
      const headers = { link: `<${next}>; rel="next"` };
      return json({ name: "x", tags: last ? ["c"] : ["a", "b"] }, { headers });
    });
    expect(await at(fake.host, (repository) => repository.tags(signal))).toEqual(["a", "b", "c"]);
  });
});

describe("TLS", () => {
  const makeCertificate = (folder: string, name: string): { cert: string; key: string } => {
    const paths = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key.pem`) };
    const made = Bun.spawnSync([
      "openssl",
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-subj",
      `/CN=${name}`,
      "-addext",
      "subjectAltName=DNS:localhost,IP:127.0.0.2",
      "-keyout",
      paths.key,
      "-out",
      paths.cert,
    ]);
    if (made.exitCode !== 0) throw new Error(made.stderr.toString());
    return paths;
  };

  test("a certificate of an unknown authority is refused unless certs.d knows it", async () => {
    const folder = mkdtempSync("/tmp/naru-test-tls-");
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const { cert, key } = makeCertificate(folder, "localhost");
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: Bun.file(cert), key: Bun.file(key) },
      fetch: () => manifestResponse(),
    });
    cleanups.push(() => void server.stop(true));
    // A name that the engine does not take for loopback.
    const host = `naru-test.localhost:${server.port}`;
    const lookup = await Bun.dns.lookup("naru-test.localhost").catch(() => []);
    if (lookup.length === 0) return;
    expect(await messageOf(at(host, fetchManifest))).toContain(
      "tls: failed to verify certificate: x509: ",
    );
    mkdirSync(join(folder, host));
    writeFileSync(join(folder, host, "ca.crt"), await Bun.file(cert).text());
    const registry = { certificatesDirectory: folder };
    expect(await messageOf(at(host, fetchManifest, { registry }))).toContain("not valid for");
  });

  test("a loopback registry's certificate is not checked", async () => {
    const folder = mkdtempSync("/tmp/naru-test-tls-");
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const { cert, key } = makeCertificate(folder, "whoever");
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: Bun.file(cert), key: Bun.file(key) },
      fetch: () => manifestResponse(),
    });
    cleanups.push(() => void server.stop(true));
    const manifest = await at(`127.0.0.1:${server.port}`, fetchManifest);
    expect(manifest.mediaType).toBe(MEDIA_TYPE.ociIndex);
  });
});
