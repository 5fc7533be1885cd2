import { describeDriver } from "../driver.suite.ts";
import { remapped } from "../test-container.ts";
import type { RuntimeDriver } from "../driver.ts";
import { openOciDriver } from "./driver.ts";

// crun 1.8 answers ENOENT for the /etc/hosts of that test: a link to a dangling link.
const lacks = new Map([["crun", ["mounts where a dangling link of the image leads, inside"]]]);
const lacksRemapped = [
  // A folder of the host's root is nobody's in there.
  "mounts host files and folders, writable and read-only, where they must be made",
  // runc 1.1 knows no domain name, and the sysctl is the host's root's.
  "has its domain name, and a multiplexer of its own terminals",
  // Refused, as by the native driver.
  "shares the host's namespaces where none is listed",
];

for (const command of ["runc", "crun"]) {
  if (Bun.which(command) === null) continue;
  const known = lacks.get(command) ?? [];
  describeDriver({ name: command, open: () => openOciDriver({ command }), lacks: new Set(known) });
  describeDriver({
    name: `remapped ${command}`,
    open: () => openRemapped(command),
    lacks: new Set([...known, ...lacksRemapped]),
  });
}

function openRemapped(command: string): RuntimeDriver {
  const driver = openOciDriver({ command });
  return {
    ...driver,
    birth: (request) => driver.birth({ ...request, spec: remapped(request.spec) }),
    exec: (request) => driver.exec({ ...request, spec: remapped(request.spec) }),
  };
}
