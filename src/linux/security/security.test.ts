import { expect, test } from "bun:test";

import {
  capabilitiesOf,
  capabilityMask,
  compileSeccomp,
  hostCapabilities,
  lastCapability,
  parseCapability,
  parseCapabilityMasks,
  type SeccompProfile,
} from "./index.ts";
import { capabilityNames } from "./index.ts";

test("names and bits go both ways, and people may leave CAP_ out", () => {
  expect(capabilitiesOf(0xa80425fbn)).toEqual(
    capabilitiesOf(capabilityMask(capabilitiesOf(0xa80425fbn))),
  );
  expect(capabilityMask(["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_NONE"])).toBe(
    1n | (1n << 40n),
  );
  expect(parseCapability("net_admin")).toBe("CAP_NET_ADMIN");
  expect(parseCapability("CAP_sys_admin")).toBe("CAP_SYS_ADMIN");
  expect(parseCapability("nope")).toBeNull();
});

test("the host's own sets are read, and no capability of this kernel is unknown", () => {
  const masks = parseCapabilityMasks(
    "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\n",
  );
  expect(masks.permitted).toBe(0x1fffeffffffn);
  expect(hostCapabilities()).toContain("CAP_CHOWN");
  expect(lastCapability()).toBeLessThan(capabilityNames.length);
});

const profile = (): SeccompProfile => ({
  defaultAction: "SCMP_ACT_ERRNO",
  defaultErrnoRet: 1,
  architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  syscalls: [
    { names: ["read", "write", "exit", "no_such_call"], action: "SCMP_ACT_ALLOW" },
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: 38 },
    {
      names: ["socket"],
      action: "SCMP_ACT_ALLOW",
      args: [{ index: 0, value: 2, op: "SCMP_CMP_EQ" }],
    },
  ],
});

test("a profile becomes a program, and the same profile is compiled once", () => {
  const once = profile();
  const filter = compileSeccomp(once);
  expect(filter.program.length).toBeGreaterThan(8 * 10);
  expect(filter.program.length % 8).toBe(0);
  expect(compileSeccomp(once)).toBe(filter);
  expect(compileSeccomp(profile())).toBe(filter);
});

test("a call that is younger than libseccomp is still refused by a profile that names it", () => {
  const action = "SCMP_ACT_ERRNO";
  const { program } = compileSeccomp({
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["file_setattr"], action, errnoRet: 13 }],
  });
  const words = new Uint32Array(program.buffer);
  const at = words.indexOf(469);
  // Equal: the next instruction answers EACCES.
  expect([words[at - 1], words[at + 1], words[at + 2]]).toEqual([0x0100_0015, 6, 0x0005_000d]);
});

test("words that are none are refused with their name", () => {
  const wrong = (part: Partial<SeccompProfile>) => () => compileSeccomp({ ...profile(), ...part });
  expect(wrong({ defaultAction: "SCMP_ACT_MAYBE" })).toThrow(
    "invalid seccomp action: SCMP_ACT_MAYBE",
  );
  expect(wrong({ flags: ["NOPE"] })).toThrow("invalid seccomp flag: NOPE");
  const args = [{ index: 0, value: 1, op: "SCMP_CMP_SORT_OF" }];
  expect(wrong({ syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW", args }] })).toThrow(
    "invalid seccomp operator",
  );
});
