/** Devices of vendors (CDI), links of the default bridge: what the container sees of them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
const folder = mkdtempSync("/tmp/naru-test-cdi-");

beforeAll(async () => {
  for (const name of ["first", "second"]) mkdirSync(join(folder, name));
  engine = await startEngine({
    daemonFlags: ["first", "second"].flatMap((name) => ["--cdi-spec-dir", join(folder, name)]),
  });
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const once = (...args: string[]) => engine.ok(["run", "--rm", ...args]);
const refused = async (...args: string[]) => {
  const { code, stderr } = await engine.docker(["run", "--rm", ...args]);
  expect(code).toBe(125);
  return stderr;
};

test("a tun that a container makes itself is opened, as with Docker, and a disk is not", async () => {
  const script = "mknod /t c 10 200; mknod /d b 8 0; for n in /t /d; do (: <> $n) 2>&1; done; true";
  const said = await once("--network", "none", "busybox", "sh", "-c", script);
  // A host without the driver says that there is no such device.
  expect(said).not.toContain("/t: Operation not permitted");
  expect(said).toContain("/d: Operation not permitted");
});

test("a vendor's device brings its node, its mounts, its variables and its groups", async () => {
  writeFileSync(join(folder, "data"), "of the vendor\n");
  writeFileSync(
    join(folder, "first/vendor.json"),
    JSON.stringify({
      cdiVersion: "0.6.0",
      kind: "naru.test/thing",
      containerEdits: { env: ["THINGS=all"] },
      devices: [
        {
          name: "one",
          containerEdits: {
            env: ["THING=one"],
            deviceNodes: [{ path: "/dev/thing", hostPath: "/dev/null", permissions: "rw" }],
            mounts: [
              {
                hostPath: join(folder, "data"),
                containerPath: "/opt/thing/data",
                options: ["ro", "nosuid", "nodev", "bind"],
              },
            ],
            additionalGids: [4711],
          },
        },
      ],
    }),
  );
  const script =
    "echo $THINGS $THING; cat /opt/thing/data; echo x >/dev/thing && ls -l /dev/thing | cut -c1; id -G; touch /opt/thing/data";
  const { stdout, stderr } = await engine.docker([
    "run",
    "--rm",
    "--device",
    "naru.test/thing=one",
    "busybox",
    "sh",
    "-c",
    script,
  ]);
  expect(stdout.split("\n")).toEqual([
    "all one",
    "of the vendor",
    "c",
    expect.stringMatching(/ 4711$/),
    "",
  ]);
  expect(stderr).toContain("Read-only file system");
  expect(await engine.ok(["info", "-f", "{{json .CDISpecDirs}}"])).toBe(
    JSON.stringify([join(folder, "first"), join(folder, "second")]),
  );
  const answer = await engine.fetch("/v1.51/info");
  const { DiscoveredDevices: found } = (await answer.json()) as { DiscoveredDevices: object[] };
  expect(found).toContainEqual({ Source: "cdi", ID: "naru.test/thing=one" });
});

test("a later folder's device hides an earlier one's, and YAML is read too", async () => {
  const yaml = (value: string) =>
    `cdiVersion: "0.6.0"\nkind: naru.test/layered\ndevices:\n  - name: x\n    containerEdits:\n      env: ["FROM=${value}"]\n`;
  writeFileSync(join(folder, "first/layered.yaml"), yaml("first"));
  writeFileSync(join(folder, "second/layered.yaml"), yaml("second"));
  const flags = ["--device", "naru.test/layered=x"];
  expect(await once(...flags, "busybox", "sh", "-c", "echo $FROM")).toBe("second");
  writeFileSync(join(folder, "second/again.yaml"), yaml("again"));
  expect(await refused(...flags, "busybox", "true")).toContain(
    "CDI device injection failed: unresolvable CDI devices naru.test/layered=x",
  );
});

test("devices nobody describes, and those whose hooks make no sense, are refused by name", async () => {
  writeFileSync(join(folder, "first/broken.json"), "{");
  writeFileSync(
    join(folder, "first/hooks.json"),
    JSON.stringify({
      kind: "naru.test/hooked",
      devices: [{ name: "x", containerEdits: { hooks: [{ hookName: "createContainer" }] } }],
    }),
  );
  expect(await refused("--device", "naru.test/none=x", "busybox", "true")).toContain(
    "CDI device injection failed: unresolvable CDI devices naru.test/none=x",
  );
  expect(await refused("--device", "naru.test/hooked=x", "busybox", "true")).toContain(
    'invalid path ""',
  );
  expect(await refused("--gpus", "all", "busybox", "true")).toContain(
    'could not select device driver "" with capabilities: [[gpu]]',
  );
});

test("a linked container is found by its alias, and its ports and variables are told", async () => {
  const web = ["--name", "web", "--expose", "80", "--expose", "81", "-e", "COLOR=red"];
  await engine.ok(["run", "-d", ...web, "busybox", "sleep", "1000"]);
  const address = await engine.ok([
    "inspect",
    "-f",
    "{{.NetworkSettings.Networks.bridge.IPAddress}}",
    "web",
  ]);
  const output = await once(
    "--name",
    "user",
    "--link",
    "web:the-db",
    "busybox",
    "sh",
    "-c",
    "grep the-db /etc/hosts; env | grep ^THE_DB | sort",
  );
  const [hosts = "", ...environment] = output.split("\n");
  const short = await engine.ok(["inspect", "-f", "{{.Config.Hostname}}", "web"]);
  expect(hosts).toBe(`${address}\tthe-db ${short} web`);
  expect(environment).toContain(`THE_DB_PORT=tcp://${address}:80`);
  expect(environment).toContain(`THE_DB_PORT_81_TCP_ADDR=${address}`);
  expect(environment).toContain("THE_DB_PORT_80_TCP_PORT_END=81");
  expect(environment).toContain("THE_DB_NAME=/user/the-db");
  expect(environment).toContain("THE_DB_ENV_COLOR=red");
  await engine.ok(["create", "--name", "later", "--link", "web", "busybox", "true"]);
  expect(await engine.ok(["inspect", "-f", "{{json .HostConfig.Links}}", "later"])).toBe(
    '["/web:/later/web"]',
  );
  await engine.ok(["rm", "-f", "web"]);
  const { stderr } = await engine.docker(["start", "later"]);
  expect(stderr).toContain("No such container");
  expect(await refused("--link", "nosuch:x", "busybox", "true")).toContain(
    "could not get container for nosuch: No such container: nosuch",
  );
  expect(await refused("--net", "host", "--link", "later", "busybox", "true")).toContain(
    "conflicting options: host type networking can't be used with links",
  );
});
