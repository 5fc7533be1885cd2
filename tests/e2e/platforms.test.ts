/** Images for several platforms: pulled next to each other, loaded, saved, pushed and removed whole or in part. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { comparable } from "./cli-compare.ts";
import { type Engine, type Finished, run, startEngine } from "./engine.ts";
import { archiveOf, HERE, type Layout, layoutOf, OTHER, upload } from "./platform-images.ts";
import { type Registry, startRegistry } from "./registry.ts";

let engine: Engine;
let registry: Registry;
let layout: Layout;
const here = `linux/${HERE}`;
const other = `linux/${OTHER}`;
/** Pulled by the tests, from the registry. */
let name: string;

beforeAll(async () => {
  engine = await startEngine();
  registry = await startRegistry(engine.root);
  layout = await layoutOf({ platforms: [other, here, "linux/s390x"], attested: true });
  name = `${registry.host}/many`;
  await upload(layout, { host: registry.host, name: "many" });
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

type Cli = Engine["docker"];
const clis = (): [Cli, Cli] => [
  (args, options) => engine.docker(args, options),
  (args, options) => engine.naru(args, options),
];

interface Manifest {
  ID: string;
  Kind: string;
  Available: boolean;
  Size: { Content: number; Total: number };
  ImageData?: { Platform: { architecture: string }; Size: { Unpacked: number } };
  AttestationData?: { For: string };
}
interface Summary {
  Id: string;
  RepoTags: string[];
  Size: number;
  Descriptor: { digest: string };
  Manifests: Manifest[];
}

async function summaryOf(tag: string): Promise<Summary> {
  const images = (await (await engine.fetch("/v1.51/images/json?manifests=1")).json()) as Summary[];
  const found = images.filter(({ RepoTags: tags }) => tags.includes(tag));
  expect(found).toHaveLength(1);
  return found[0] as Summary;
}

/** The architectures of an image that are here. */
const available = async (tag: string): Promise<string[]> =>
  (await summaryOf(tag)).Manifests.filter(({ Kind, Available }) => Kind === "image" && Available)
    .map(({ ImageData: data }) => data?.Platform.architecture ?? "")
    .toSorted();

/** What a registry has under a tag, read without the engine. */
async function remote(
  repository: string,
): Promise<{ digest: string; body: { manifests?: Layout["attestations"] } }> {
  const answer = await fetch(`http://${registry.host}/v2/${repository}/manifests/latest`, {
    headers: {
      accept:
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
    },
  });
  const digest = answer.headers.get("docker-content-digest") ?? "";
  return { digest, body: (await answer.json()) as { manifests?: Layout["attestations"] } };
}

describe("pull", () => {
  test("one platform, then another one next to it; each runs, is inspected and has its history", async () => {
    await engine.ok(["pull", "-q", name]);
    expect(await available(`${name}:latest`)).toEqual([HERE]);
    expect(await engine.ok(["run", "--rm", name])).toBe(here);
    const alone = await summaryOf(`${name}:latest`);
    const pulled = await engine.ok(["pull", "--platform", other, name]);
    expect(pulled).toContain(`Digest: ${layout.index.digest}`);
    expect(await available(`${name}:latest`)).toEqual([HERE, OTHER].toSorted());
    const both = await summaryOf(`${name}:latest`);
    expect(both.Id).toBe(alone.Id);
    expect(both.Descriptor.digest).toBe(layout.index.digest);
    // The base layer is in both, and takes its place once.
    expect(both.Size - alone.Size).toBeLessThan(1000);
    expect(await engine.ok(["run", "--rm", name])).toBe(here);
    for (const platform of [here, other]) {
      const run = await engine.ok(["run", "--rm", "--platform", platform, name]);
      expect(run).toBe(platform);
      const format = ["-f", '{{.Os}}/{{.Architecture}} {{index .Config.Labels "for"}}'];
      for (const cli of clis()) {
        const inspected = await cli(["image", "inspect", "--platform", platform, ...format, name]);
        expect(inspected.stdout.trim()).toBe(`${platform} ${platform}`);
        const history = await cli([
          "history",
          "--platform",
          platform,
          "--format",
          "{{.CreatedBy}}",
          name,
        ]);
        expect(history.stdout).toStartWith(`${platform} 1`);
      }
    }
  });

  test("what is not here is told as Docker tells it, and is pulled by run", async () => {
    for (const command of [
      ["image", "inspect", "--platform", "linux/s390x", name],
      ["history", "--platform", "linux/s390x", name],
      ["save", "--platform", "linux/s390x", "-o", join(engine.root, "none.tar"), name],
      ["push", "--platform", "linux/s390x", name],
      ["create", "--pull", "never", "--platform", "linux/s390x", name],
    ]) {
      for (const cli of clis()) {
        const refused = await cli(command);
        expect(refused.code).not.toBe(0);
        expect(refused.stderr).toContain(
          "was found but does not provide the specified platform (linux/s390x)",
        );
      }
    }
    const none = await engine.docker(["pull", "--platform", "linux/ppc64le", name]);
    expect(none.stderr).toContain("no matching manifest for linux/ppc64le in the manifest list");
    expect(await engine.ok(["run", "-q", "--rm", "--platform", "linux/s390x", name])).toBe(
      "linux/s390x",
    );
    expect(await available(`${name}:latest`)).toEqual([HERE, OTHER, "s390x"].toSorted());
  });

  test("the index's digest is a name for it, and containers keep theirs", async () => {
    const digest = `${name}@${layout.index.digest}`;
    expect(await engine.ok(["image", "inspect", "-f", "{{.RepoDigests}}", name])).toBe(
      `[${digest}]`,
    );
    expect(await engine.ok(["run", "--rm", "--platform", other, digest])).toBe(other);
    expect(await engine.ok(["run", "--rm", layout.index.digest])).toBe(here);
    const id = await engine.ok(["create", "--platform", other, name]);
    expect(await engine.ok(["ps", "-a", "--format", "{{.Image}}"])).toBe(name);
    await engine.restartDaemon();
    expect(await engine.ok(["start", "-a", id])).toBe(other);
    const used = await engine.docker(["rmi", name]);
    expect(used.stderr).toContain("is using its referenced image");
    await engine.ok(["rm", id]);
  });

  test("the tree shows every manifest: of platforms, of attestations, and those that are not here", async () => {
    await engine.ok(["rmi", "-f", "--platform", "linux/s390x", name]);
    const { Manifests: manifests } = await summaryOf(`${name}:latest`);
    expect(manifests.map(({ Kind, Available }) => `${Kind} ${Available}`)).toEqual([
      "image true",
      "attestation true",
      "image true",
      "attestation true",
      "image false",
      "attestation false",
    ]);
    expect(manifests[1]?.AttestationData?.For).toBe(layout.manifests[OTHER]?.digest ?? "");
    expect(manifests[4]?.ImageData?.Size.Unpacked).toBe(0);
    const [docker, naru] = [
      await engine.docker(["image", "ls", "--tree"]),
      await engine.naru(["image", "ls", "--tree"]),
    ];
    expect(docker.stdout).toContain(other);
    expect(comparable(naru)).toEqual(comparable(docker));
    // One row, though there are two images.
    expect((await engine.ok(["images", "-q", name])).split("\n")).toHaveLength(1);
  });
});

describe("save and load", () => {
  test("an archive holds every platform that is here, and gives them all back", async () => {
    const path = join(engine.root, "both.tar");
    await engine.ok(["tag", name, "both:1"]);
    await engine.ok(["save", "-o", path, "both:1"]);
    const listed = (await run(["tar", "-tf", path])).stdout.split("\n");
    expect(listed).toContain("index.json");
    expect(listed).toContain("manifest.json");
    await engine.ok(["rmi", "both:1", name]);
    expect(await engine.ok(["images", "-aq", "both"])).toBe("");
    expect(await engine.ok(["load", "-i", path])).toBe("Loaded image: both:1");
    expect(await available("both:1")).toEqual([HERE, OTHER].toSorted());
    const { Manifests: manifests } = await summaryOf("both:1");
    expect(manifests.filter(({ Kind }) => Kind === "attestation")).toHaveLength(2);
    expect(manifests.every(({ Available }) => Available)).toBe(true);
    expect(await engine.ok(["run", "--rm", "--platform", other, "both:1"])).toBe(other);
    expect(await engine.ok(["run", "--rm", "both:1"])).toBe(here);
  });

  test("--platform saves one, and loads one of several, with either client", async () => {
    for (const [index, cli] of clis().entries()) {
      const path = join(engine.root, `one-${index}.tar`);
      const whole = join(engine.root, `whole-${index}.tar`);
      expect((await cli(["save", "--platform", other, "-o", path, "both:1"])).code).toBe(0);
      expect((await cli(["save", "-o", whole, "both:1"])).code).toBe(0);
      await engine.ok(["rmi", "both:1"]);
      expect((await cli(["load", "-i", path])).stdout).toContain("Loaded image: both:1");
      expect(await available("both:1")).toEqual([OTHER]);
      const created = await cli(["create", "both:1"]);
      expect(created.stderr).toContain(
        `The requested image's platform (${other}) does not match the detected host platform`,
      );
      await engine.ok(["rm", created.stdout.trim()]);
      await engine.ok(["rmi", "both:1"]);
      expect((await cli(["load", "--platform", other, "-i", whole])).code).toBe(0);
      expect(await available("both:1")).toEqual([OTHER]);
      const wrong = await cli(["load", "--platform", "linux/mips", "-i", whole]);
      expect(wrong.code).toBe(1);
      expect(wrong.stderr).toContain("linux/mips");
      expect((await cli(["load", "-i", whole])).code).toBe(0);
      expect(await available("both:1")).toEqual([HERE, OTHER].toSorted());
    }
  });

  test("a layout without names, and one with a platform missing, are loaded as far as they go", async () => {
    const nameless = await layoutOf({ platforms: [here, other], base: false, attested: true });
    const loaded = await engine.ok(["load"], { stdin: archiveOf(nameless) });
    const id = loaded.replace("Loaded image ID: ", "");
    expect(await engine.ok(["images", "-q", "--no-trunc", "-f", "dangling=true"])).toBe(id);
    for (const platform of [here, other]) {
      const format = ["-f", "{{.Os}}/{{.Architecture}}"];
      const found = await engine.ok(["image", "inspect", "--platform", platform, ...format, id]);
      expect(found).toBe(platform);
    }
    // Saved as it is, it is one image without a name again.
    const path = join(engine.root, "nameless.tar");
    await engine.ok(["save", "-o", path, id]);
    expect(await engine.ok(["image", "prune", "-f"])).toContain(`deleted: ${id}`);
    expect(await engine.ok(["load", "-i", path])).toBe(loaded);
    await engine.ok(["tag", id, "named:1"]);
    expect(await available("named:1")).toEqual([HERE, OTHER].toSorted());
    await engine.ok(["rmi", "named:1"]);
    const cut = await layoutOf({
      name: "docker.io/library/cut:latest",
      platforms: [here, other],
      base: false,
    });
    const gone = cut.manifests[OTHER]?.digest.slice("sha256:".length) ?? "";
    const files = new Map([...cut.files].filter(([path]) => !path.endsWith(gone)));
    expect(await engine.ok(["load"], { stdin: archiveOf({ files }) })).toBe(
      "Loaded image: cut:latest",
    );
    expect(await available("cut:latest")).toEqual([HERE]);
    await engine.ok(["image", "prune", "-f"]);
    await engine.ok(["rmi", "cut"]);
  });
});

describe("layers packed with bzip2 and xz", () => {
  for (const program of ["bzip2", "xz"]) {
    test(`${program}: are pulled and loaded, whatever their media type says`, async () => {
      const pack = (tar: Uint8Array) =>
        new Uint8Array(Bun.spawnSync([program, "-c"], { stdin: tar }).stdout);
      const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
      const image = { platforms: [here], compress: { pack, mediaType } };
      const packed = await layoutOf({ ...image, name: `docker.io/library/${program}:latest` });
      expect(await engine.ok(["load"], { stdin: archiveOf(packed) })).toBe(
        `Loaded image: ${program}:latest`,
      );
      expect(await engine.ok(["run", "--rm", program])).toBe(here);
      await engine.ok(["rmi", program]);
      await upload(packed, { host: registry.host, name: program });
      const remoteName = `${registry.host}/${program}`;
      await engine.ok(["pull", "-q", remoteName]);
      expect(await engine.ok(["run", "--rm", remoteName])).toBe(here);
      await engine.ok(["rmi", remoteName]);
    });
  }
});

describe("push", () => {
  test("an index that is here goes whole, with its attestations", async () => {
    const whole = await layoutOf({ platforms: [here, other], attested: true });
    await upload(whole, { host: registry.host, name: "whole" });
    const source = `${registry.host}/whole`;
    await engine.ok(["pull", "-q", source]);
    await engine.ok(["pull", "-q", "--platform", other, source]);
    await engine.ok(["tag", source, `${registry.host}/copy`]);
    const pushed = await engine.ok(["push", `${registry.host}/copy`]);
    // Its layers are mounted from where they came from, so nothing of it changes.
    expect(pushed).toContain(`digest: ${whole.index.digest}`);
    const copy = await remote("copy");
    expect(copy.digest).toBe(whole.index.digest);
    for (const { digest } of copy.body.manifests ?? []) {
      const answer = await fetch(`http://${registry.host}/v2/copy/manifests/${digest}`, {
        headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
      });
      expect(answer.status).toBe(200);
      const manifest = (await answer.json()) as {
        config: { digest: string };
        layers: { digest: string }[];
      };
      for (const blob of [manifest.config, ...manifest.layers]) {
        const url = `http://${registry.host}/v2/copy/blobs/${blob.digest}`;
        expect((await fetch(url, { method: "HEAD" })).status).toBe(200);
      }
    }
    await engine.ok(["rmi", `${registry.host}/copy`]);
    await engine.ok(["pull", "-q", "--platform", other, `${registry.host}/copy`]);
    const copied = ["--platform", other, `${registry.host}/copy`];
    expect(await engine.ok(["run", "--rm", ...copied])).toBe(other);
    await engine.ok(["rmi", `${registry.host}/copy`, source]);
  });

  test("to another registry, with its layers packed anew, it is whole too and says so of its attestations", async () => {
    await using second = await startRegistry(engine.root);
    const target = `${second.host}/both`;
    await engine.ok(["tag", "both:1", target]);
    await engine.ok(["push", target]);
    const answer = await fetch(`http://${second.host}/v2/both/manifests/latest`, {
      headers: { accept: "application/vnd.oci.image.index.v1+json" },
    });
    const index = (await answer.json()) as {
      manifests: { digest: string; annotations?: Record<string, string> }[];
    };
    expect(index.manifests).toHaveLength(4);
    const digests = index.manifests.map(({ digest }) => digest);
    for (const { annotations } of index.manifests.filter((one) => one.annotations)) {
      expect(digests).toContain(annotations?.["vnd.docker.reference.digest"] ?? "");
    }
    await engine.ok(["rmi", target, "both:1"]);
    await engine.ok(["pull", "-q", "--platform", other, target]);
    expect(await engine.ok(["run", "--rm", "--platform", other, target])).toBe(other);
    await engine.ok(["rmi", target]);
  });

  test("--platform sends one; so does a push of what is not all here, and tells", async () => {
    await engine.ok(["pull", "-q", name]);
    await engine.ok(["pull", "-q", "--platform", other, name]);
    const target = `${registry.host}/part`;
    const told: Finished[] = [];
    for (const cli of clis()) {
      await engine.ok(["tag", name, target]);
      expect((await cli(["push", "--platform", other, target])).code).toBe(0);
      expect((await remote("part")).digest).toBe(layout.manifests[OTHER]?.digest ?? "");
      const pushed = await cli(["push", "-q", target]);
      told.push(pushed);
      expect(pushed.stdout).toContain("Not all multiplatform-content is present");
      expect((await remote("part")).digest).toBe(layout.manifests[HERE]?.digest ?? "");
      await engine.ok(["rmi", target]);
    }
    const [docker, naru] = told.map((one) => comparable(one));
    expect(naru).toEqual(docker as NonNullable<typeof docker>);
  });
});

describe("push of what nobody would choose from", () => {
  test("is whole where the registry has the rest, and refused in Docker's words where it has not", async () => {
    const source = `${registry.host}/far`;
    const far = await layoutOf({ platforms: [here, "linux/s390x", other], attested: true });
    await upload(far, { host: registry.host, name: "far" });
    for (const platform of [other, "linux/s390x"]) {
      await engine.ok(["pull", "-q", "--platform", platform, source]);
    }
    await using elsewhere = await startRegistry(engine.root);
    await engine.ok(["tag", source, `${elsewhere.host}/far`]);
    const refused = await engine.docker(["push", `${elsewhere.host}/far`]);
    expect(refused.stderr).toContain(
      "multiple matching manifests found but no specific platform requested",
    );
    const tags = await fetch(`http://${elsewhere.host}/v2/_catalog`);
    expect(await tags.json()).toEqual({ repositories: [] });
    // The same repository has all of it; another one takes it from there.
    for (const target of [`${source}:again`, `${registry.host}/taken`]) {
      await engine.ok(["tag", source, target]);
      expect(await engine.ok(["push", target])).toContain(`digest: ${far.index.digest}`);
    }
    await engine.ok(["rmi", `${registry.host}/taken`]);
    await engine.ok(["pull", "-q", `${registry.host}/taken`]);
    expect(await engine.ok(["run", "--rm", `${registry.host}/taken`])).toBe(here);
    await engine.ok(["rmi", `${registry.host}/taken`]);
    await engine.ok(["rmi", `${elsewhere.host}/far`, `${source}:again`, source]);
  });
});

describe("what a registry has, asked through the engine", () => {
  interface Remote {
    Descriptor: { mediaType: string; digest: string; size: number };
    Platforms: { architecture: string; os: string }[];
  }
  const ask = async (reference: string, headers: Record<string, string> = {}) => {
    const answer = await engine.fetch(`/v1.51/distribution/${reference}/json`, { headers });
    return { status: answer.status, body: (await answer.json()) as Remote & { message: string } };
  };

  test("an index with all of its platforms, a manifest with its own, by tag and by digest", async () => {
    const { digest, size, mediaType } = layout.index;
    for (const reference of [name, `${name}:latest`, `${name}@${digest}`]) {
      const { status, body } = await ask(reference);
      expect(status).toBe(200);
      expect(body.Descriptor).toEqual({ mediaType, digest, size });
      expect(body.Platforms.map(({ architecture }) => architecture)).toEqual([
        OTHER,
        "unknown",
        HERE,
        "unknown",
        "s390x",
        "unknown",
      ]);
    }
    const one = await ask(`${name}@${layout.manifests["s390x"]?.digest}`);
    expect(one.body.Descriptor.size).toBe(layout.manifests["s390x"]?.size ?? 0);
    expect(one.body.Platforms).toEqual([{ architecture: "s390x", os: "linux" }]);
    // The CLI asks the registry itself, and finds the same.
    const told = await engine.ok(["manifest", "inspect", "--insecure", name]);
    const manifests = (JSON.parse(told) as { manifests: { digest: string }[] }).manifests;
    expect(manifests.map((entry) => entry.digest)).toContain(
      layout.manifests["s390x"]?.digest ?? "",
    );
  });

  test("what is not there, is no name or needs a password is said as Docker says it", async () => {
    expect((await ask(`${registry.host}/nobody`)).status).toBe(404);
    expect((await ask(`${name}:gone`)).status).toBe(404);
    expect((await ask("UPPER")).status).toBe(400);
    expect((await ask(layout.index.digest)).status).toBe(400);
    const hashed = await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 });
    await using locked = await startRegistry(engine.root, { htpasswd: `captain:${hashed}\n` });
    const auth = (password: string) => ({
      "X-Registry-Auth": Buffer.from(
        JSON.stringify({ username: "captain", password, serveraddress: locked.host }),
      ).toString("base64url"),
    });
    await engine.ok(["pull", "-q", name]);
    const target = `${locked.host}/locked`;
    await engine.ok(["tag", name, target]);
    await engine.ok(["login", "-u", "captain", "-p", "secret", locked.host]);
    await engine.ok(["push", "--platform", here, target]);
    await engine.ok(["logout", locked.host]);
    await engine.ok(["rmi", target]);
    const open = await ask(target, auth("secret"));
    expect(open.body.Platforms).toEqual([{ architecture: HERE, os: "linux" }]);
    // As Docker: without a password it is no 401, by which its CLI would ask for one.
    for (const [headers, status] of [
      [{}, 500],
      [auth("wrong"), 401],
    ] as const) {
      const refused = await ask(target, headers);
      expect(refused.status).toBe(status);
      expect(refused.body.message).not.toBe("");
    }
  });
});

describe("what the engine says of itself", () => {
  test("info has Docker's fields for each version of the API", async () => {
    const info = async (version: string) =>
      (await (await engine.fetch(`/v${version}/info`)).json()) as Record<string, object>;
    const now = await info("1.51");
    expect(now["Images"]).toBe((await engine.ok(["images", "-aq"])).split("\n").length as never);
    expect(now["RegistryConfig"]).toMatchObject({
      InsecureRegistryCIDRs: ["::1/128", "127.0.0.0/8"],
    });
    const told = (fields: Record<string, object>) => [
      "FirewallBackend" in fields,
      "BridgeNfIptables" in fields,
      "Expected" in (fields["RuncCommit"] ?? {}),
      "AllowNondistributableArtifactsCIDRs" in (fields["RegistryConfig"] ?? {}),
    ];
    expect(told(now)).toEqual([true, false, false, false]);
    expect(told(await info("1.49"))).toEqual([true, true, false, false]);
    expect(told(await info("1.48"))).toEqual([false, true, true, false]);
    expect(told(await info("1.46"))).toEqual([false, true, true, true]);
    const all = await engine.fetch("/v1.41/system/df?type=volume");
    expect(Object.keys((await all.json()) as object)).toContain("Images");
    const status = await engine.ok(["info", "-f", "{{range .DriverStatus}}{{index . 0}},{{end}}"]);
    expect(status).toBe(
      "Backing Filesystem,Supports d_type,Using metacopy,Native Overlay Diff,userxattr,driver-type,Layers,",
    );
  });
});

describe("rmi", () => {
  test("--platform takes one away, by force, and the last name takes all the others", async () => {
    const refused = await engine.docker(["rmi", "--platform", other, name]);
    expect(refused.stderr).toContain("Content will be removed from all images referencing this");
    const [docker] = clis();
    for (const cli of clis()) {
      await engine.ok(["pull", "-q", "--platform", other, name]);
      const removed = await cli(["rmi", "-f", "--platform", other, name]);
      expect(removed.stdout.trim()).toBe(`Deleted: ${layout.manifests[OTHER]?.digest}`);
      expect(await available(`${name}:latest`)).toEqual([HERE]);
    }
    await engine.ok(["pull", "-q", "--platform", other, name]);
    const running = await engine.ok(["run", "-d", "--platform", other, name, "sleep", "1000"]);
    const used = await docker(["rmi", "-f", "--platform", other, name]);
    expect(used.stderr).toContain("image is being used by running container");
    await engine.ok(["rm", "-f", running]);
    await engine.ok(["rmi", name]);
    expect(await engine.ok(["images", "-aq", "--filter", `reference=${name}`])).toBe("");
    await engine.ok(["image", "prune", "-af"]);
    expect(await engine.ok(["images", "-aq"])).toBe("");
    const usage = (await (await engine.fetch("/v1.51/system/df")).json()) as { LayersSize: number };
    expect(usage.LayersSize).toBe(0);
  });
});

describe("attestations of any size", () => {
  test("a bill of materials of many megabytes is loaded, saved byte for byte, pushed and pulled", async () => {
    const bill = new TextEncoder().encode(
      JSON.stringify({
        _type: "bill",
        files: Array.from({ length: 400_000 }, (_, at) => `/usr/share/file/${at}/of/many`),
      }),
    );
    expect(bill.length).toBeGreaterThan(12 * 1024 * 1024);
    const large = await layoutOf({
      name: "docker.io/library/billed:latest",
      platforms: [here],
      attested: true,
      statement: bill,
    });
    const digest = new Bun.CryptoHasher("sha256").update(bill).digest("hex");
    expect(await engine.ok(["load"], { stdin: archiveOf(large) })).toBe(
      "Loaded image: billed:latest",
    );
    const path = join(engine.root, "billed.tar");
    for (let round = 0; round < 2; round += 1) {
      const { Manifests: manifests } = await summaryOf("billed:latest");
      expect(manifests.map(({ Kind, Available }) => `${Kind} ${Available}`)).toEqual([
        "image true",
        "attestation true",
      ]);
      expect(manifests[1]?.Size.Content).toBeGreaterThan(bill.length);
      await engine.ok(["save", "-o", path, "billed"]);
      const inside = Bun.spawnSync(["tar", "-xOf", path, `blobs/sha256/${digest}`]).stdout;
      expect(Buffer.compare(inside, bill)).toBe(0);
      await engine.ok(["rmi", "billed"]);
      await engine.ok(["load", "-q", "-i", path]);
    }
    const target = `${registry.host}/billed`;
    await engine.ok(["tag", "billed", target]);
    await engine.ok(["push", "-q", target]);
    await engine.ok(["rmi", target, "billed"]);
    await engine.ok(["pull", "-q", target]);
    expect((await summaryOf(`${target}:latest`)).Manifests[1]?.Available).toBe(true);
    await engine.ok(["rmi", target]);
  });
});
