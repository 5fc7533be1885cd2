import { describeDriver } from "../driver.suite.ts";
import { openOciDriver } from "./driver.ts";

// crun 1.8 answers ENOENT for the /etc/hosts of that test: a link to a dangling link.
const lacks = new Map([
  ["crun", new Set(["mounts where a dangling link of the image leads, inside"])],
]);

for (const command of ["runc", "crun"]) {
  if (Bun.which(command) === null) continue;
  const known = lacks.get(command) ?? new Set<string>();
  describeDriver({ name: command, open: () => openOciDriver({ command }), lacks: known });
}
