/** `--storage-opt size`: what a container may write, held by the file system's project quotas. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

const UNSUPPORTED =
  "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";

describe("where the file system cannot", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine();
  });
  afterAll(async () => {
    expect(engine.violations()).toEqual([]);
    await engine[Symbol.asyncDispose]();
  });

  test("it is refused in Docker's words, as are other options and bad sizes", async () => {
    const refusals: [string, string][] = [
      ["size=10m", UNSUPPORTED],
      ["size=much", "invalid size: 'much'"],
      ["size=-1", "invalid size: '-1'"],
      ["colour=red", "Unknown option colour"],
    ];
    for (const [option, sentence] of refusals) {
      const command = ["create", "--storage-opt", option, "busybox"];
      for (const refused of [await engine.docker(command), await engine.naru(command)]) {
        expect(refused.code).toBe(1);
        expect(refused.stderr).toContain(sentence);
      }
    }
    expect(await engine.ok(["ps", "-aq"])).toBe("");
  });

  test("so is the daemon's own limit", async () => {
    await engine.killDaemon();
    expect(await engine.tryDaemon(["--storage-opt", "overlay2.size=10m"])).toContain(
      "Storage option overlay2.size not supported",
    );
    expect(await engine.tryDaemon(["--storage-opt", "dm.basesize=10m"])).toContain(
      "overlay2: unknown option dm.basesize",
    );
    await engine.startDaemon();
  });
});

/** A file system with project quotas in a file; null, and why, where this kernel has none. */
async function quotaDisk(
  kind: "ext4" | "xfs",
): Promise<{ root: string; end: () => Promise<void> } | string> {
  const folder = mkdtempSync("/tmp/naru-test-quota-");
  const [image, root] = [join(folder, "disk"), join(folder, "root")];
  mkdirSync(root);
  const end = async () => {
    await run(["umount", "-l", root]);
    rmSync(folder, { recursive: true, force: true });
  };
  await run(["truncate", "-s", "400M", image]);
  const make =
    kind === "ext4" ? ["mkfs.ext4", "-q", "-O", "quota,project", image] : ["mkfs.xfs", "-q", image];
  const made = await run(make).catch(() => null);
  const mounted =
    made?.code === 0 ? await run(["mount", "-o", "loop,prjquota", image, root]) : null;
  if (mounted?.code === 0) return { root, end };
  await end();
  return made === null ? `${make[0]} is not here` : `this kernel has no quotas for ${kind}`;
}

const disks = {
  ext4: await quotaDisk("ext4"),
  xfs: await quotaDisk("xfs"),
};

for (const [kind, disk] of Object.entries(disks)) {
  if (typeof disk === "string") {
    test.skip(`limits on ${kind}: ${disk}`, () => undefined);
    continue;
  }
  describe(`on ${kind} with prjquota`, () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await startEngine({ dataRoot: join(disk.root, "data") });
    });
    afterAll(async () => {
      expect(engine.violations()).toEqual([]);
      await engine[Symbol.asyncDispose]();
      await disk.end();
    });

    /** MiB that `dd` could write, and what it said. */
    const fill = async (id: string) => {
      const script = "dd if=/dev/zero of=/big bs=1M count=100 2>&1; du -m /big | cut -f1";
      const said = await engine.docker(["exec", id, "sh", "-c", script]);
      return { mib: Number(said.stdout.trim().split("\n").at(-1)), said: said.stdout };
    };

    test("a container writes its size and no more, and sees it; a restart changes nothing", async () => {
      const limited = ["run", "-d", "--storage-opt", "size=20m", "busybox", "sleep", "10000"];
      const id = await engine.ok(limited);
      expect(await engine.ok(["inspect", "-f", "{{json .HostConfig.StorageOpt}}", id])).toBe(
        '{"size":"20m"}',
      );
      const blocks = await engine.ok(["exec", id, "sh", "-c", "df -k / | tail -1"]);
      expect(Number(blocks.split(/\s+/)[1])).toBe(20 * 1024);
      const first = await fill(id);
      expect(first.said).toMatch(/No space left on device|Disk quota exceeded|quota/i);
      expect(first.mib).toBeGreaterThan(15);
      expect(first.mib).toBeLessThanOrEqual(20);
      await engine.restartDaemon();
      expect((await fill(id)).mib).toBeLessThanOrEqual(20);
      await engine.ok(["restart", "-t", "0", id]);
      expect((await fill(id)).mib).toBeLessThanOrEqual(20);
      // Another one has its own.
      const other = await engine.ok(limited);
      expect((await fill(other)).mib).toBeGreaterThan(15);
      const free = await engine.ok(["run", "-d", "busybox", "sleep", "10000"]);
      expect((await fill(free)).mib).toBe(100);
      await engine.ok(["rm", "-f", free, other]);
      // What cp writes counts, too, also before the first start.
      const created = await engine.ok(["create", "--storage-opt", "size=1m", "busybox", "true"]);
      const archive = Bun.spawnSync(["tar", "-C", "/usr/bin", "-c", "bash", "dash", "perl"]).stdout;
      const copied = await engine.docker(["cp", "-", `${created}:/`], {
        stdin: new Uint8Array(archive),
      });
      expect(copied.code).not.toBe(0);
      await engine.ok(["rm", "-f", created, id]);
    });

    test("a removed container gives its space and its project back", async () => {
      const used = async () =>
        Number((await run(["stat", "-f", "-c", "%f", disk.root])).stdout.trim());
      const before = await used();
      for (let round = 0; round < 3; round += 1) {
        const id = await engine.ok("run -d --storage-opt size=30m busybox sleep 10000".split(" "));
        expect((await fill(id)).mib).toBeGreaterThan(25);
        await engine.ok(["rm", "-f", id]);
      }
      const deadline = Date.now() + 20_000;
      while ((await used()) < before - 2000 && Date.now() < deadline) await run(["sync"]);
      expect(await used()).toBeGreaterThanOrEqual(before - 2000);
    });

    test("the daemon's limit is for containers that say nothing", async () => {
      await engine.killDaemon();
      await engine.startDaemon(undefined, ["--storage-opt", "overlay2.size=10m"]);
      const id = await engine.ok(["run", "-d", "busybox", "sleep", "10000"]);
      expect((await fill(id)).mib).toBeLessThanOrEqual(10);
      const more = "run -d --storage-opt size=30m busybox sleep 10000".split(" ");
      const own = await engine.ok(more);
      expect((await fill(own)).mib).toBeGreaterThan(25);
      await engine.ok(["rm", "-f", id, own]);
    });
  });
}
