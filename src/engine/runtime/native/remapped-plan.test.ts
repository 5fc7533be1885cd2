import { expect, test } from "bun:test";

import type { RuntimeSpec } from "#oci";

import { defaultSpec } from "../test-container.ts";
import type { HostFacts } from "./facts.ts";
import { compileRemappedBirth, refuseUnmappable, remappedFlagsOf } from "./remapped-plan.ts";

const facts: HostFacts = {
  capabilities: (1n << 41n) - 1n,
  lastCapability: 40,
  hardLimits: new Map(),
  canRaiseLimits: true,
  kcore: true,
  hierarchies: [{ version: 2, name: "unified", controllers: [] }],
  emptyDevice: 77n,
};
const maps = [{ containerID: 0, hostID: 100_000, size: 65_536 }];

function specWith(change: (spec: RuntimeSpec) => void = () => undefined): RuntimeSpec {
  const spec = defaultSpec("0".repeat(64), ["true"]);
  spec.linux.uidMappings = maps;
  spec.linux.gidMappings = maps;
  change(spec);
  return spec;
}

test("cgroups are joined as the host's root, everything else is done as the container's", () => {
  const shape = {
    tasks: 2,
    namespaces: [],
    binds: new Map<number, boolean>(),
    init: null,
    stdio: { type: "pipes" as const, chown: [] },
  };
  const spec = specWith();
  const plan = compileRemappedBirth({ spec, facts, shape });
  const calls = plan.steps.map(({ call }) => call);
  const order = ["write", "read", "setresgid", "setresuid", "move_mount", "pivot_root"] as const;
  const found = order.map((call) => calls.indexOf(call));
  expect(found).not.toContain(-1);
  expect(found).toEqual(found.toSorted((a, b) => a - b));
  // No device node: the kernel would refuse it.
  const nodes = plan.steps.filter(({ call }) => call === "mknodat");
  expect(nodes.filter(({ says }) => says.startsWith("make /dev"))).toEqual([]);
  expect(remappedFlagsOf(spec, shape) & 0x1000_0000).toBe(0x1000_0000);
});

test("maps without root, and namespaces that its root would not own, are refused", () => {
  const refused = (change: (spec: RuntimeSpec) => void) =>
    expect(() => refuseUnmappable(specWith(change))).toThrow();
  refused(({ linux }) => delete linux.gidMappings);
  refused(({ linux }) => (linux.uidMappings = [{ containerID: 1, hostID: 5, size: 9 }]));
  refused(({ linux }) => (linux.uidMappings = [{ containerID: 0, hostID: 5, size: 0 }]));
  for (const type of ["network", "pid"]) {
    refused(({ linux }) => {
      linux.namespaces = linux.namespaces.filter((each) => each.type !== type);
    });
  }
  refused(({ linux }) => linux.namespaces.push({ type: "ipc", path: "/proc/1/ns/ipc" }));
  expect(() => refuseUnmappable(specWith())).not.toThrow();
});
