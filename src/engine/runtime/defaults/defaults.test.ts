import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";

import { compileSeccomp } from "#linux/security";

import { defaultSeccomp, isAtLeast, parseSeccomp } from "./seccomp.ts";
import { runtimeDefaults, thermalPaths } from "./spec-defaults.ts";

const X64 = 0xc000_003e;
const I386 = 0x4000_0003;
const ALLOW = 0x7fff_0000;
const REFUSE = 0x0005_0001;
const NOT_THERE = 0x0005_0026;

/** Runs a filter as the kernel would, on one system call. */
function verdict(program: Uint8Array, call: { arch: number; number: number; args?: number[] }) {
  const data = new DataView(new ArrayBuffer(64));
  data.setInt32(0, call.number, true);
  data.setUint32(4, call.arch, true);
  for (const [index, value] of (call.args ?? []).entries()) {
    data.setBigUint64(16 + index * 8, BigInt(value), true);
  }
  const view = new DataView(program.buffer);
  let [a, x] = [0, 0];
  for (let pc = 0; ; pc += 1) {
    const [code, jt, jf] = [
      view.getUint16(pc * 8, true),
      view.getUint8(pc * 8 + 2),
      view.getUint8(pc * 8 + 3),
    ];
    const k = view.getUint32(pc * 8 + 4, true);
    const jump = (yes: boolean) => (pc += yes ? jt : jf);
    if (code === 0x20) a = data.getUint32(k, true);
    else if (code === 0x06) return k;
    else if (code === 0x05) pc += k;
    else if (code === 0x15) jump(a === k);
    else if (code === 0x25) jump(a > k);
    else if (code === 0x35) jump(a >= k);
    else if (code === 0x45) jump((a & k) !== 0);
    else if (code === 0x54) a = (a & k) >>> 0;
    else if (code === 0x07) x = a;
    else if (code === 0x87) a = x;
    else throw new Error(`unknown instruction ${code}`);
  }
}

const filterFor = (...capabilities: string[]) =>
  compileSeccomp(defaultSeccomp({ capabilities, kernel: "6.18.0", arch: "amd64" })).program;

describe.if(process.arch === "x64")("the default filter", () => {
  const filter = filterFor();
  const x64 = (number: number, ...args: number[]) => verdict(filter, { arch: X64, number, args });
  const i386 = (number: number, ...args: number[]) => verdict(filter, { arch: I386, number, args });

  test("lets ordinary calls through, on both architectures of this machine", () => {
    for (const number of [0, 1, 59, 231, 257, 435 - 1]) expect(x64(number)).toBe(ALLOW);
    expect(i386(3)).toBe(ALLOW);
  });

  test("refuses what changes the host: mount, unshare, setns, bpf, keyctl", () => {
    for (const number of [165, 272, 308, 321, 250, 169]) expect(x64(number)).toBe(REFUSE);
  });

  test("lets sockets be made, but never AF_ALG or AF_VSOCK (CVE-2026-31431)", () => {
    for (let family = 0; family < 48; family += 1) {
      expect(x64(41, family)).toBe(family === 38 || family === 40 ? REFUSE : ALLOW);
    }
    for (const family of [38, 40]) {
      // The kernel takes the lower half of a register for the int that a family is.
      expect(x64(41, 2 ** 32 + family)).toBe(REFUSE);
      expect(x64(41, -(2 ** 32) + family)).toBe(REFUSE);
      expect(i386(359, family)).toBe(REFUSE);
    }
    for (const call of [1, 2, 3]) expect(i386(102, call)).toBe(NOT_THERE);
  });

  test("refuses io_uring", () => {
    for (const number of [425, 426, 427]) {
      expect(x64(number)).toBe(REFUSE);
      expect(i386(number)).toBe(REFUSE);
    }
  });

  test("lets processes be cloned, without new namespaces, and says that clone3 is not there", () => {
    expect(x64(56, 17)).toBe(ALLOW);
    expect(x64(56, 0x1000_0000 | 17)).toBe(REFUSE);
    expect(x64(435)).toBe(NOT_THERE);
  });

  test("knows calls that libseccomp does not, and says of those that nobody knows that they are not there", () => {
    const [cachestat, statmount, mseal, removexattrat] = [451, 457, 462, 466];
    for (const number of [cachestat, statmount, mseal, removexattrat]) {
      expect(x64(number)).toBe(ALLOW);
      expect(i386(number)).toBe(ALLOW);
    }
    for (const number of [467, 500, 100_000]) {
      expect(x64(number)).toBe(NOT_THERE);
      expect(i386(number)).toBe(NOT_THERE);
    }
    // Of the x32 ABI: the rules decide.
    expect(x64(0x4000_0000 + 41, 40)).toBe(REFUSE);
  });

  test("opens with capabilities", () => {
    const number = 165;
    expect(verdict(filterFor("CAP_SYS_ADMIN"), { arch: X64, number })).toBe(ALLOW);
  });
});

test("the same wishes give the same profile, whatever their order", () => {
  const one = defaultSeccomp({ capabilities: ["CAP_KILL", "CAP_CHOWN"] });
  expect(defaultSeccomp({ capabilities: ["CAP_CHOWN", "CAP_KILL"] })).toBe(one);
  expect(runtimeDefaults().seccomp(["CAP_KILL", "CAP_CHOWN"])).toBe(one);
});

test("kernels are compared by number", () => {
  expect(isAtLeast("6.18.44-fc", "4.8")).toBe(true);
  expect(isAtLeast("4.7.1", "4.8")).toBe(false);
  expect(isAtLeast("4.10", "4.8")).toBe(true);
});

test("a person's profile is read in Docker's form, its conditions resolved", () => {
  const profile = JSON.stringify({
    defaultAction: "SCMP_ACT_ALLOW",
    archMap: [{ architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] }],
    syscalls: [
      { name: "mkdir", action: "SCMP_ACT_ERRNO" },
      { names: ["chmod"], action: "SCMP_ACT_ERRNO", excludes: { caps: ["CAP_FOWNER"] } },
      { names: ["chown"], action: "SCMP_ACT_ERRNO", includes: { minKernel: "99.0" } },
    ],
  });
  const target = { capabilities: ["CAP_FOWNER"], arch: "amd64" };
  expect(parseSeccomp(profile, target)).toEqual({
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO" }],
  });
});

test("a profile that is none is refused", () => {
  for (const text of [
    "",
    "{",
    "[]",
    "null",
    '{"syscalls":3}',
    '{"defaultAction":"x","syscalls":[1]}',
  ]) {
    expect(() => parseSeccomp(text, { capabilities: [] })).toThrow(
      "Decoding seccomp profile failed",
    );
  }
});

test("what processors tell of their heat is masked where the host tells it", () => {
  const root = mkdtempSync("/tmp/naru-test-cpus-");
  for (const folder of [
    "cpu1/thermal_throttle",
    "cpu0/thermal_throttle",
    "cpu2",
    "cpufreq/thermal_throttle",
  ]) {
    mkdirSync(`${root}/${folder}`, { recursive: true });
  }
  expect(thermalPaths(root)).toEqual([0, 1].map((cpu) => `${root}/cpu${cpu}/thermal_throttle`));
  rmSync(root, { recursive: true });
  expect(thermalPaths(root)).toEqual([]);
});
