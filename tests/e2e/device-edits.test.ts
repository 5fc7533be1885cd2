/** What devices' vendors ask for besides a node (CDI): hooks in remapped containers, and network devices that move in. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";
import { eventually } from "./until.ts";

const FIRST = 800_000_000 + Math.floor(Math.random() * 1000) * 100_000;
/** Somebody every host has, with ranges of this test alone. */
const line = `nobody:${FIRST}:65536\n`;
const FILES = ["/etc/subuid", "/etc/subgid"];

let engine: Engine;
const folder = mkdtempSync("/tmp/naru-test-edits-");

beforeAll(async () => {
  chmodSync(folder, 0o755);
  for (const file of FILES) appendFileSync(file, line);
  const daemonFlags = ["--userns-remap", "nobody", "--cdi-spec-dir", folder];
  engine = await startEngine({ daemonFlags });
});

afterAll(async () => {
  for (const file of FILES) writeFileSync(file, readFileSync(file, "utf8").replace(line, ""));
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** A device with these edits. @returns how it is asked for */
function device(name: string, containerEdits: object): string {
  const document = {
    cdiVersion: "1.1.0",
    kind: `naru.test/${name}`,
    devices: [{ name: "x", containerEdits }],
  };
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(document));
  return `naru.test/${name}=x`;
}

/** Each tells who and where it is; the one inside changes the container's root, through the bundle. */
const TELLS = `#!/bin/sh
state=$(cat)
bundle=$(echo "$state" | sed 's/.*"bundle":"\\([^"]*\\)".*/\\1/')
told="$1 $(id -u) $(tr -s ' ' </proc/self/uid_map | cut -d' ' -f3)"
if [ $1 = createContainer ]; then
  grep -q '"ociVersion"' $bundle/config.json || exit 7
  echo spoilt >>$bundle/config.json && exit 8
  echo "$told" >$bundle/rootfs/vendor-tool || exit 9
else
  echo "$told" >>$2
fi`;

describe("hooks of a remapped container", () => {
  test("run as the host's root outside, and as the container's inside", async () => {
    const program = join(folder, "tells");
    writeFileSync(program, TELLS);
    chmodSync(program, 0o755);
    const log = join(folder, "log");
    const env = ["PATH=/usr/bin:/bin"];
    const stages = ["prestart", "createContainer", "poststart", "poststop"];
    const hooks = stages.map((hookName) => {
      return { hookName, path: program, args: ["tells", hookName, log], env };
    });
    hooks.push({
      hookName: "startContainer",
      path: "/bin/sh",
      args: ["sh", "-c", "id -u >/by-start"],
      env,
    });
    const name = device("hooked", { hooks });
    const text = "cat /vendor-tool /by-start; stat -c %u /vendor-tool; ls /tmp | wc -l";
    const args = ["run", "--rm", "--device", name, "busybox", "sh", "-c", text];
    const said = (await engine.ok(args)).split("\n");
    expect(said).toEqual([`createContainer 0 ${FIRST}`, "0", "0", "0"]);
    const outside = ["prestart", "poststart", "poststop"].map((stage) => `${stage} 0 0\n`).join("");
    await eventually(async () => expect(await Bun.file(log).text()).toBe(outside));
  });

  test("end its start where they fail", async () => {
    const hooks = [{ hookName: "createContainer", path: "/bin/false" }];
    const args = ["run", "--rm", "--device", device("failing", { hooks }), "busybox", "true"];
    expect((await engine.docker(args)).stderr).toContain("error running createContainer hook #0");
    expect(await engine.ok(["ps", "-aq"])).toBe("");
  });
});

describe("network devices", () => {
  const ip = async (...words: string[]) => {
    const done = await run(["ip", ...words]);
    if (done.code !== 0) throw new Error(done.stderr);
    return done.stdout;
  };
  const show = "ip -o addr show dev moved | awk '{print $4}' | grep -v ^fe80";

  for (const [which, flags] of [
    ["a bridge", []],
    ["nothing", ["--network", "none"]],
    ["the host's ids", ["--userns=host"]],
    ["runc", ["--runtime", "runc"]],
  ] as const) {
    const lacks = which === "runc" && Bun.which("runc") === null;
    test.skipIf(lacks)(`move into a container with ${which}, with their addresses`, async () => {
      const link = `${engine.bridge}-${which.slice(-2)}`;
      await ip("link", "add", link, "type", "veth", "peer", "name", `${link}p`);
      try {
        await ip("addr", "add", "198.51.100.7/24", "dev", link);
        await ip("addr", "add", "2001:db8::7/64", "dev", link, "nodad");
        const netDevices = [{ hostInterfaceName: link, name: "moved" }];
        const asked = ["--device", device("moving", { netDevices })];
        const text = `${show}; ip link show dev moved | grep -c ,UP; ls /sys/class/net`;
        const seen = await engine.ok([
          "run",
          "--rm",
          ...flags,
          ...asked,
          "busybox",
          "sh",
          "-c",
          text,
        ]);
        const [own, eth] = [
          ["198.51.100.7/24", "2001:db8::7/64", "1"],
          which === "nothing" ? [] : ["eth0"],
        ];
        expect(seen.split("\n")).toEqual([...own, ...eth, "lo", "moved"]);
        // What was made by software went with the namespace.
        await eventually(() => expect(existsSync(`/sys/class/net/${link}`)).toBe(false));
      } finally {
        await run(["ip", "link", "delete", link]);
      }
    });
  }

  test("that are not there, or have nowhere to go, end the start", async () => {
    const refused = async (netDevices: unknown, ...flags: string[]) => {
      const asked = ["--device", device("missing", { netDevices })];
      return (await engine.docker(["run", "--rm", ...flags, ...asked, "busybox", "true"])).stderr;
    };
    const missing = [{ hostInterfaceName: `${engine.bridge}-x`, name: "eth7" }];
    expect(await refused(missing)).toContain("no such network device");
    const host = ["--network=host", "--userns=host"];
    expect(await refused(missing, ...host)).toContain("without a NET namespace");
    expect(await refused([{ hostInterfaceName: "../x", name: "eth7" }])).toContain(
      "invalid linux net device",
    );
    expect(await refused([{ hostInterfaceName: "lo", name: "eth7" }])).toContain(
      "moving network device",
    );
    expect(await engine.ok(["ps", "-aq"])).toBe("");
  });

  test.skipIf(existsSync("/sys/fs/resctrl/info"))(
    "shares of a cache that cannot be shared are refused",
    async () => {
      const asked = ["--device", device("cache", { intelRdt: { closID: "a" } })];
      expect((await engine.docker(["run", "--rm", ...asked, "busybox", "true"])).stderr).toContain(
        "intelRdt is specified in config, but Intel RDT is not supported or enabled",
      );
    },
  );
});
