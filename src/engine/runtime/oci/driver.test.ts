import { describeDriver } from "../driver.suite.ts";
import { openOciDriver } from "./driver.ts";

for (const command of ["runc", "crun"]) {
  if (Bun.which(command) === null) continue;
  describeDriver({ name: command, open: () => openOciDriver({ command }) });
}
