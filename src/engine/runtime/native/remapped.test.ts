/** The whole driver suite once more, every container in a user namespace of its own; and what only those promise. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";

import { type CgroupHost, openCgroupHost } from "#linux/cgroup";
import { setSubreaper } from "#linux/process";
import type { RuntimeSpec } from "#oci";

import { describeDriver } from "../driver.suite.ts";
import { Lab } from "../lab.ts";
import { remapped } from "../test-container.ts";
import { type NativeDriver, openNativeDriver } from "./native-driver.ts";

function openRemapped(scratchRoot: string, cgroups: CgroupHost): NativeDriver {
  const driver = openNativeDriver({ scratchRoot, cgroups });
  return {
    ...driver,
    birth: (request) => driver.birth({ ...request, spec: remapped(request.spec) }),
    exec: (request) => driver.exec({ ...request, spec: remapped(request.spec) }),
    explain: (request) => driver.explain({ ...request, spec: remapped(request.spec) }),
    [Symbol.dispose]: () => driver[Symbol.dispose](),
  };
}

describeDriver({
  name: "remapped native",
  open: openRemapped,
  lacks: new Set([
    // A folder of the host's root is nobody's in there.
    "mounts host files and folders, writable and read-only, where they must be made",
    // Refused: see below.
    "shares the host's namespaces where none is listed",
  ]),
});

let lab: Lab;
beforeAll(async () => {
  setSubreaper(true);
  lab = await Lab.open(openRemapped, openCgroupHost());
});
afterAll(async () => await lab.close());

const run = (text: string, change: (spec: RuntimeSpec) => void = () => undefined) =>
  lab.run({ args: ["sh", "-c", text], change });

test("root inside is somebody else outside, and owns the image's files and its devices", async () => {
  const { output } = await run(
    "tr -s ' ' < /proc/self/uid_map; stat -c '%u:%g %n' / /bin/busybox /dev /dev/null /dev/pts; echo x > /new; chown 5:6 /new; stat -c %u:%g /new",
  );
  expect(output.trim().split("\n")).toEqual([
    "0 300000 65536",
    "0:0 /",
    "0:0 /bin/busybox",
    "0:0 /dev",
    "0:0 /dev/null",
    "0:0 /dev/pts",
    "5:6",
  ]);
});

test("only a folder that is the engine's own is shown with the container's ids", async () => {
  const folder = mkdtempSync("/tmp/naru-test-shift-");
  try {
    const mount = { type: "bind", source: folder, options: ["rbind", "rw"] };
    const { output } = await run(
      "stat -c %u:%g /own /host; touch /own/x; touch /host/x",
      ({ mounts }) =>
        mounts.push(
          { ...mount, destination: "/own", shifted: true },
          { ...mount, destination: "/host" },
        ),
    );
    expect(output).toStartWith("0:0\n65534:65534\n");
    expect(output).toContain("touch: /host/x: Permission denied");
    expect(statSync(`${folder}/x`).uid).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("neither device nodes nor the host's namespaces can be had", async () => {
  const { output } = await run(
    "mknod /tmp/disk b 8 0; mount -o remount,rw /sys; echo 1 > /proc/sys/kernel/panic; echo end",
  );
  expect(output).toContain("mknod: /tmp/disk: Operation not permitted");
  expect(output).toEndWith("end\n");
  const without = (type: string) => (spec: RuntimeSpec) => {
    spec.linux.namespaces = spec.linux.namespaces.filter((each) => each.type !== type);
  };
  const joined = (spec: RuntimeSpec) => {
    for (const each of spec.linux.namespaces)
      if (each.type === "ipc") each.path = "/proc/self/ns/ipc";
  };
  for (const change of [without("network"), without("pid"), joined]) {
    // oxlint-disable-next-line no-await-in-loop
    const refused = await run("true", change).then(
      () => "",
      (thrown: unknown) => String(thrown),
    );
    expect(refused).toContain("user namespace");
  }
});
