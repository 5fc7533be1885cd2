import { expect, test } from "bun:test";

import { formatRuntimeCommand, parseRuntimeCommand } from "./command.ts";

test("a runtime with words of its own is one text, and comes back whole", () => {
  for (const command of [
    { path: "runc", args: [] },
    { path: "/opt/a runtime", args: ["--debug", '--log="x"', ""] },
  ]) {
    expect(parseRuntimeCommand(formatRuntimeCommand(command))).toEqual(command);
  }
  expect(formatRuntimeCommand({ path: "crun", args: [] })).toBe("crun");
});
