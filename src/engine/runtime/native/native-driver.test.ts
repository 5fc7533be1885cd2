import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { openCgroupHost } from "#linux/cgroup";
import { setSubreaper } from "#linux/process";

import { describeDriver } from "../driver.suite.ts";
import { Lab } from "../lab.ts";
import { openNativeDriver } from "./native-driver.ts";

describeDriver({
  name: "native",
  open: (scratchRoot, cgroups) => openNativeDriver({ scratchRoot, cgroups }),
});

let lab: Lab;
beforeAll(async () => {
  setSubreaper(true);
  lab = await Lab.open(
    (scratchRoot, cgroups) => openNativeDriver({ scratchRoot, cgroups }),
    openCgroupHost(),
  );
});
afterAll(async () => await lab.close());

/** A container whose /dev is somebody's folder, as `-v folder:/dev` makes it. */
const withOwnDev = (folder: string, text: string, terminal?: { columns: number; rows: number }) =>
  lab.run({
    args: ["sh", "-c", text],
    ...(terminal === undefined ? {} : { terminal }),
    image: (root) => writeFileSync(join(root, "victim"), "untouched\n"),
    change: ({ mounts }) => {
      const at = mounts.findIndex(({ destination }) => destination === "/dev");
      const options = ["rbind", "rprivate"];
      mounts.splice(at, 1, { destination: "/dev", type: "bind", source: folder, options });
    },
  });

test("masks with the null device, whatever lies at /dev/null (CVE-2025-31133)", async () => {
  const folder = lab.folder("dev");
  writeFileSync(join(folder, "null"), "not the device\n");
  const { output } = await withOwnDev(folder, "cat /dev/null /proc/keys; stat -c %t:%T /proc/keys");
  expect(output).toBe("not the device\n1:3\n");
});

test("the terminal goes to /dev/console, and to nothing that a link there names (CVE-2025-52565)", async () => {
  const folder = lab.folder("dev");
  mkdirSync(join(folder, "pts"));
  symlinkSync("/victim", join(folder, "console"));
  const size = { columns: 80, rows: 24 };
  const outcome = withOwnDev(folder, "stat -c %F /victim; cat /victim", size);
  const said = await outcome.then(
    ({ output }) => output,
    (thrown: Error) => thrown.message,
  );
  expect(said).not.toContain("character special");
  expect(said).toContain("untouched");
});
