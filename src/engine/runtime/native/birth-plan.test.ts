import { expect, test } from "bun:test";
import { array, assert, nat, property } from "fast-check";

import type { RuntimeSpec } from "#oci";

import { defaultSpec } from "../test-container.ts";
import { birthKey, birthSlots, compileBirth } from "./birth-plan.ts";
import { encodePlan, fillSlots, STEP_BYTES } from "./encode.ts";
import { compileExec, execKey } from "./exec-plan.ts";
import type { BirthShape, HostFacts } from "./facts.ts";
import { deviceNumber } from "./devices.ts";
import { parseMountOptions } from "#linux/mount";
import { explainPlan, type Plan, PlanWriter } from "./plan.ts";
import { gapSlots } from "./tail.ts";

const ID = "a".repeat(64);
const facts: HostFacts = {
  capabilities: (1n << 41n) - 1n,
  lastCapability: 40,
  hardLimits: new Map([["RLIMIT_NOFILE", 1000n]]),
  canRaiseLimits: false,
  kcore: true,
  hierarchies: [
    { version: 1, name: "cpu,cpuacct", controllers: ["cpu", "cpuacct"] },
    { version: 2, name: "unified", controllers: [] },
  ],
  emptyDevice: 42n,
};
const shape: BirthShape = {
  tasks: 1,
  stdio: { type: "pipes", chown: [1, 2] },
  namespaces: [],
  binds: new Map(),
  init: null,
};

const change = (edit: (spec: RuntimeSpec) => void, base = defaultSpec(ID, ["sh"])) => {
  edit(base);
  return base;
};
const compile = (spec: RuntimeSpec, more: Partial<BirthShape> = {}) =>
  compileBirth({ spec, facts, shape: { ...shape, ...more } });
const calls = ({ steps }: Plan) => steps.map(({ call }) => call);
const said = ({ steps }: Plan) => steps.map(({ says }) => says);

test("a default birth joins its cgroup first and executes last", () => {
  const plan = compile(defaultSpec(ID, ["sh"]));
  const order = [
    "hide from other processes",
    "join cgroup hierarchy 0",
    "a cgroup namespace rooted here",
    "attach the container's root",
    "mount proc at /proc",
    "/proc/sys is read-only",
    "/proc/kcore is masked",
    "the root becomes /",
    "wait until the parent built the network",
    "become uid 0",
    "no descriptor but 0, 1, 2 outlives execve",
    "the program's capabilities",
    "execute /bin/sh",
  ];
  const found = order.map((says) => said(plan).indexOf(says));
  expect(found).not.toContain(-1);
  expect(found).toEqual(found.toSorted((a, b) => a - b));
});

test("after the program's capabilities are set, nothing but the filter and the program remains", () => {
  for (const noNewPrivileges of [false, true]) {
    const plan = compile(
      change(({ process, linux }) => {
        process.noNewPrivileges = noNewPrivileges;
        linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [] };
      }),
    );
    const rest = calls(plan).slice(said(plan).indexOf("the program's capabilities") + 1);
    expect(new Set(rest)).toEqual(
      new Set(noNewPrivileges ? ["seccomp", "execve", "fail"] : ["execve", "fail"]),
    );
  }
});

test("a process in a joined pid namespace is cloned after every power and all memory was given up", () => {
  const process = defaultSpec(ID, ["sh"]).process;
  const plan = compileExec({ spec: defaultSpec(ID, ["sh"]), process, facts, shape });
  const order = ["setns", "capset", "clone", "leaveIfParent", "setsid", "execve"] as const;
  const found = order.map((call) => calls(plan).lastIndexOf(call));
  expect(found.slice(0, 5)).toEqual(found.slice(0, 5).toSorted((a, b) => a - b));
  expect(calls(plan).indexOf("forget")).toBeLessThan(calls(plan).indexOf("clone"));
});

test("no path of the host is in a birth's plan", () => {
  const spec = change(({ mounts }) =>
    mounts.push({
      destination: "/in",
      type: "bind",
      source: "/secret/of/the/host",
      options: ["rbind"],
    }),
  );
  const plan = compile(spec, { binds: new Map([[spec.mounts.length - 1, true]]) });
  const texts = plan.steps.flatMap(({ args }) =>
    args.flatMap((each) => (typeof each === "object" && "text" in each ? [each.text] : [])),
  );
  expect(texts.join()).not.toContain("/secret");
  expect(explainPlan(plan)).toContain("mount the host's tree at /in");
});

test("what a spec may not say is refused", () => {
  const refused = (edit: (spec: RuntimeSpec) => void, more: Partial<BirthShape> = {}) => {
    expect(() => compile(change(edit), more)).toThrow();
  };
  refused(({ process }) => process.args.splice(0));
  refused(({ process }) => (process.cwd = "relative"));
  refused(({ linux }) => linux.namespaces.push({ type: "user" }));
  refused(({ linux }) => (linux.sysctl = { "../../etc": "x" }));
  refused(({ mounts }) => mounts.push({ destination: "/a/../b", type: "tmpfs" }));
  refused(({ mounts }) => mounts.push({ destination: "/x", type: "ext4" }));
  const inside = (destination: string) => (spec: RuntimeSpec) =>
    spec.mounts.push({ destination, type: "bind", source: "/x", options: ["bind"] });
  refused(inside("/proc/self"), { binds: new Map([[7, false]]) });
  expect(() =>
    compile(change(inside("/proc/meminfo")), { binds: new Map([[7, false]]) }),
  ).not.toThrow();
});

test("limits are clamped to what the engine may give", () => {
  const plan = compile(
    change(({ process }) => {
      process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 500, hard: -1 }];
    }),
  );
  const [limit] = plan.steps.filter(({ call }) => call === "prlimit64");
  const argument = limit?.args[2];
  const bytes =
    typeof argument === "object" && "bytes" in argument ? argument.bytes : new Uint8Array();
  expect([...new BigUint64Array(bytes.slice().buffer)]).toEqual([500n, 1000n]);
});

test("mount options are told apart: flags, attributes, propagation, the file system's own", () => {
  expect(parseMountOptions("tmpfs", ["nosuid", "ro", "size=1m", "mode=700"])).toMatchObject({
    bind: false,
    flags: 3,
    data: "size=1m,mode=700",
  });
  expect(parseMountOptions("bind", ["rbind", "rro", "noexec", "rslave", "suid"])).toMatchObject({
    bind: true,
    recursiveBind: true,
    set: 8,
    clear: 2,
    recursiveSet: 1,
    propagation: { type: 0x80000, recursive: true },
    data: "",
  });
  expect(() => parseMountOptions("tmpfs", ["tmpcopyup"])).toThrow("tmpcopyup");
});

test("device numbers are the kernel's", () => {
  expect([deviceNumber(1, 3), deviceNumber(136, 0x12345)]).toEqual([0x103, 0x1230_8845]);
});

// Pieces that change a spec; the second of each pair differs only where plans have slots.
const edits: readonly ((spec: RuntimeSpec, variant: number) => void)[] = [
  (spec, v) => (spec.hostname = ["a", "bb", ""][v % 3] ?? ""),
  ({ process }, v) =>
    (process.env = [["PATH=/bin"], ["PATH=/bin", "A=1"], ["PATH=/x"]][v % 3] ?? []),
  ({ process }, v) => (process.args = [["sh"], ["sh", "-c"], ["ls"], ["/bin/sh"]][v % 4] ?? []),
  ({ process }, v) => (process.cwd = ["/", "/tmp"][v % 2] ?? ""),
  ({ process }, v) => (process.user = { uid: v % 3, gid: v % 2, additionalGids: v % 2 ? [5] : [] }),
  ({ process }, v) => (process.noNewPrivileges = v % 2 === 0),
  ({ process }, v) => (process.rlimits = v % 2 ? [{ type: "RLIMIT_CORE", soft: v, hard: v }] : []),
  ({ root }, v) => (root.readonly = v % 2 === 0),
  ({ linux }, v) => (linux.cgroupsPath = `/x/${v}`),
  ({ linux }, v) => linux.maskedPaths.splice(v % 3),
  ({ linux }, v) => (linux.sysctl = v % 2 ? { "net.ipv4.ip_forward": `${v % 3}` } : {}),
  ({ linux }, v) => {
    const names = ["read", "write"].slice(v % 3);
    linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: names.length > 0 ? [{ names, action: "SCMP_ACT_ERRNO" }] : [],
    };
  },
  ({ linux }, v) => (linux.resources = { devices: [], pids: { limit: v + 1 } }),
  ({ mounts }, v) => mounts.push({ destination: `/t${v % 2}`, type: "tmpfs", source: `s${v % 2}` }),
  ({ linux }, v) => linux.namespaces.splice(v % 5),
  ({ mounts }, v) =>
    (mounts[1] = { ...mounts[1], destination: "/dev", options: [["ro"], ["rw"]][v % 2] ?? [] }),
];
const variants = array(nat(11), { minLength: edits.length, maxLength: edits.length });

function editedBy(numbers: readonly number[]): RuntimeSpec {
  return change((spec) => {
    for (const [index, edit] of edits.entries()) edit(spec, numbers[index] ?? 0);
    spec.linux.namespaces.push({ type: "mount" });
  });
}

const bare = ({ steps }: Plan) => steps.map((step) => ({ ...step, context: undefined }));

test("births with equal keys have equal plans", () => {
  assert(
    property(variants, nat(edits.length - 1), nat(11), (numbers, index, variant) => {
      const one = editedBy(numbers);
      const two = editedBy(numbers.with(index, variant));
      if (birthKey({ spec: one, shape }) !== birthKey({ spec: two, shape })) return;
      expect(bare(compile(two))).toEqual(bare(compile(one)));
      const exec = (spec: RuntimeSpec) => ({ spec, process: spec.process, facts, shape });
      if (execKey(exec(one)) === execKey(exec(two))) {
        expect(bare(compileExec(exec(two)))).toEqual(bare(compileExec(exec(one))));
      }
    }),
    { numRuns: 300 },
  );
});

test("births that differ in arguments, environment, name and cgroup share a plan", () => {
  const one = change(() => undefined, defaultSpec(ID, ["sh", "-c", "x"]));
  const two = change(
    (spec) => {
      spec.hostname = "other";
      spec.process.env.push("A=1");
    },
    defaultSpec("b".repeat(64), ["sh"]),
  );
  expect(birthKey({ spec: two, shape })).toBe(birthKey({ spec: one, shape }));
});

test("slots are filled with numbers, texts and lists, and say when their room is too small", () => {
  const writer = new PlanWriter();
  const args = [
    { slot: "fd" },
    { slot: "name" },
    { slot: "name", part: "length" },
    { slot: "list" },
  ] as const;
  writer.call("write", args, "everything");
  const encoded = encodePlan(writer.finish(), { slotBytes: 64 });
  expect(fillSlots(encoded, { fd: 7, name: "né", list: ["x", "yz"] })).toBe(0);
  const view = new DataView(encoded.memory.buffer);
  const word = (index: number) => Number(view.getBigUint64(8 + index * 8, true));
  const textAt = (address: number) => {
    const from = address - encoded.address;
    return Buffer.from(encoded.memory.subarray(from, encoded.memory.indexOf(0, from))).toString();
  };
  expect([word(0), textAt(word(1)), word(2)]).toEqual([7, "né", 3]);
  const list = word(3) - encoded.address;
  const items = [0, 1, 2].map((index) => Number(view.getBigUint64(list + index * 8, true)));
  expect([textAt(items[0] ?? 0), textAt(items[1] ?? 0), items[2]]).toEqual(["x", "yz", 0]);
  expect(fillSlots(encoded, { fd: 7, name: "x".repeat(100), list: [] })).toBeGreaterThan(0);
  expect(encoded.memory.length).toBeGreaterThan(STEP_BYTES);
});

test("a text with a NUL never reaches the kernel cut short", () => {
  const encoded = encodePlan(compile(defaultSpec(ID, ["sh"])), { slotBytes: 4096 });
  const compiled = { id: ID, spec: defaultSpec(ID, ["sh", "a\0b"]), facts, shape };
  expect(() => fillSlots(encoded, birthSlots(compiled))).toThrow("NUL");
});

test("an AppArmor profile is given through a procfs of its own, before any power is gone", () => {
  const spec = change((edited) => (edited.process.apparmorProfile = "docker-default"));
  const plan = compile(spec);
  const order = said(plan);
  const at = order.indexOf("AppArmor profile docker-default from execve on");
  expect(at).toBeGreaterThan(order.indexOf("open thread-self/attr/apparmor/exec"));
  expect(at).toBeLessThan(order.indexOf("keep capabilities while the user changes"));
  expect(order).not.toContain("open /proc/thread-self/attr/apparmor/exec");
  expect(said(compile(defaultSpec(ID, ["sh"]))).join(" ")).not.toContain("AppArmor");
  const exec = compileExec({ spec, process: spec.process, facts, shape });
  expect(said(exec)).toContain("AppArmor profile docker-default from execve on");
});

test("who may wait long closes everything but what it keeps, in ranges that are all valid", () => {
  assert(
    property(array(nat(200), { minLength: 1, maxLength: 30 }), (numbers) => {
      const kept = [...new Set(numbers.map((number) => number + 3))];
      const slots = gapSlots(kept);
      const ranges = Array.from({ length: kept.length + 1 }, (_, gap) => [
        Number(slots[`gap${gap}`]),
        Number(slots[`gapEnd${gap}`]),
      ]);
      const isClosed = (fd: number) => ranges.some(([from = 0, to = 0]) => from <= fd && fd <= to);
      expect(ranges.every(([from = 0, to = 0]) => from <= to)).toBe(true);
      for (let fd = 0; fd < 300; fd += 1) {
        expect(isClosed(fd)).toBe(fd >= 3 && !kept.includes(fd));
      }
    }),
  );
  const plan = compile(defaultSpec(ID, ["sh"]), { kept: 2 });
  expect(calls(plan).filter((call) => call === "close_range")).toHaveLength(3 + 1);
});
