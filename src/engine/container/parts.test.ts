import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { DetachWatch, parseDetachKeys } from "./detach-keys.ts";
import { hostsFile, resolvFile } from "./etc-files.ts";
import { selectContainers } from "./filters.ts";
import { configOf, createOf, facts, hostOf, options } from "./fixture.ts";
import { parseNumberList } from "./host-facts.ts";
import { cleanPath, mergeImageConfig } from "./merge.ts";
import { resolveMounts } from "./mounts.ts";
import { inventName, parseContainerName } from "./names.ts";
import { checkResources } from "./resources.ts";
import { nextDelayMs, restartsAfterExit, startsWithEngine } from "./restart.ts";
import { millisecondsOf, nowText } from "./times.ts";
import { selectProcesses } from "./top.ts";
import { apparmorProfileOf, parseSecurityOptions } from "./security-options.ts";
import { checkHostConfig } from "./validate.ts";

const imageOf = () => ({ imageId: "sha256:aa", layers: ["sha256:bb"] }) as const;

test("an asked entrypoint hides the image's command, an asked command does not hide its entrypoint", () => {
  const image = { Entrypoint: ["/e"], Cmd: ["c"] };
  const merge = (entrypoint: string[] | null, command: string[] | null) => {
    const merged = mergeImageConfig(configOf({ entrypoint, command }), image);
    return [merged.entrypoint, merged.command];
  };
  expect(merge(null, null)).toEqual([["/e"], ["c"]]);
  expect(merge(null, ["x"])).toEqual([["/e"], ["x"]]);
  expect(merge(["/f"], null)).toEqual([["/f"], null]);
  expect(merge([""], ["x"])).toEqual([null, ["x"]]);
  expect(() => merge([], null)).toThrow("no command specified");
});

test("environment, labels, ports, volumes and the rest are joined with the image's", () => {
  const merged = mergeImageConfig(
    configOf({ environment: ["A=1", "B"], labels: { x: "1" }, exposedPorts: ["80/tcp"] }),
    {
      Cmd: ["c"],
      Env: ["A=0", "B=0", "C=0"],
      Labels: { x: "0", y: "0" },
      ExposedPorts: { "80/tcp": {}, "53/udp": {} },
      Volumes: { "/v": {} },
      User: "app",
      WorkingDir: "/srv/../app/",
      StopSignal: "SIGINT",
    },
  );
  expect(merged).toMatchObject({
    environment: ["A=1", "B", "C=0"],
    labels: { x: "1", y: "0" },
    exposedPorts: ["80/tcp", "53/udp"],
    volumes: ["/v"],
    user: "app",
    workingDirectory: "/app",
    stopSignal: "SIGINT",
  });
});

test("a cleaned path is absolute and climbs nowhere", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const clean = cleanPath(text);
      expect(clean.startsWith("/")).toBe(true);
      expect(clean.split("/")).not.toContain("..");
      expect(cleanPath(clean)).toBe(clean);
    }),
  );
});

test("names follow Docker's rule, and an invented one is free and follows it too", () => {
  expect(parseContainerName("/web-1.2_x")).toBe("web-1.2_x");
  expect(parseContainerName("w".repeat(300))).toHaveLength(300);
  for (const bad of ["a", "-web", "we b", "wéb", "web/x", ".web", "w".repeat(9000)]) {
    expect(() => parseContainerName(bad)).toThrow("Invalid container name");
  }
  const taken = new Set<string>();
  for (let index = 0; index < 500; index += 1) {
    const name = inventName((each) => taken.has(each));
    expect(taken.has(name)).toBe(false);
    taken.add(parseContainerName(name));
  }
  expect(inventName((name) => !/\d$/.test(name))).toMatch(/^[a-z]+_[a-z]+\d+$/);
});

test("limits that make no sense are refused, those the host lacks are dropped with a warning", () => {
  const { resources } = hostOf();
  const check = (change: Partial<typeof resources>, host = facts) =>
    checkResources({ ...resources, ...change }, host);
  expect(() => check({ memoryBytes: 1024 })).toThrow("Minimum memory limit allowed is 6MB");
  expect(() => check({ memoryBytes: 1e8, memorySwapBytes: 1e7 })).toThrow(
    "Minimum memoryswap limit should be larger than memory limit, see usage",
  );
  expect(() => check({ memorySwapBytes: 1e8 })).toThrow(
    "You should always set the Memory limit when using Memoryswap limit, see usage",
  );
  expect(() => check({ cpusetCpus: "0-7" })).toThrow(
    "Requested CPUs are not available - requested 0-7, available: 0-1",
  );
  expect(() => check({ cpusetCpus: "x" })).toThrow("Invalid value x for cpuset cpus");
  expect(() => check({ nanoCpus: 3e9 })).toThrow(
    "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
  );
  expect(check({ memoryBytes: 1e8 }).resources.memorySwapBytes).toBe(2e8);
  const noSwap = check({ memoryBytes: 1e8 }, { ...facts, swapLimit: false });
  expect(noSwap.resources.memorySwapBytes).toBe(-1);
  expect(noSwap.warnings).toEqual([
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
  ]);
});

test("number lists are read, and never grow beyond their bound", () => {
  expect(parseNumberList("0-2,5")).toEqual(new Set([0, 1, 2, 5]));
  for (const bad of ["2-1", "a", "1,,2", "0-99999", "-1"]) expect(parseNumberList(bad)).toBeNull();
});

test("host options that make no sense are refused in Docker's words", () => {
  const check =
    (host: Parameters<typeof hostOf>[0], config = {}) =>
    () =>
      checkHostConfig(
        createOf({ config, host: { log: options.defaultLog, ...host } }),
        options,
        facts,
      );
  expect(check({})).not.toThrow();
  expect(check({ autoRemove: true, restartPolicy: { name: "always" } })).toThrow(
    "can't create 'AutoRemove' container with restart policy",
  );
  expect(check({ runtime: "kata" })).toThrow("unknown or invalid runtime name: kata");
  expect(check({ capAdd: ["nope"] })).toThrow('invalid CapAdd: unknown capability: "CAP_NOPE"');
  expect(check({ sysctls: { "vm.swappiness": "1" } })).toThrow(
    'sysctl "vm.swappiness" is not in a separate kernel namespace',
  );
  expect(check({ sysctls: { "net/../../x": "1" } })).toThrow("separate kernel namespace");
  expect(check({ sysctls: { "net.ipv4.ip_forward": "1" } })).not.toThrow();
  expect(check({ sysctls: { "net.ipv4.ip_forward": "1" }, networkMode: { mode: "host" } })).toThrow(
    'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
  );
  expect(check({ sysctls: { "kernel.msgmax": "1" }, ipcMode: { mode: "host" } })).toThrow(
    'sysctl "kernel.msgmax" is not allowed in the hosts ipc namespace',
  );
  expect(check({ sysctls: { "kernel.hostname": "x" } })).toThrow('the OCI "hostname" field');
  expect(check({ sysctls: { "user.max_mnt_namespaces": "5" } })).toThrow(
    "setting ucounts without a user namespace not allowed: user.max_mnt_namespaces",
  );
  expect(check({ securityOptions: ["foo"] })).toThrow('invalid --security-opt 1: "foo"');
  expect(check({ securityOptions: ["foo=bar"] })).toThrow('invalid --security-opt 2: "foo=bar"');
  const networkMode = { mode: "container", container: "web" } as const;
  expect(check({ networkMode, dns: ["1.1.1.1"] })).toThrow("dns and the network mode");
  expect(check({ networkMode, extraHosts: ["a:1.1.1.1"] })).toThrow("custom host-to-IP mapping");
  expect(check({ init: true })).toThrow("init program was not found");
  expect(check({ ulimits: [{ name: "nofile", soft: 2, hard: 1 }] })).toThrow(
    "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
  );
  expect(check({ log: { driver: "nonsense", options: {} } })).toThrow(
    "logger: no log driver named 'nonsense' is registered",
  );
});

test("security options are understood in both spellings", () => {
  const parsed = parseSecurityOptions([
    "no-new-privileges",
    "seccomp:unconfined",
    "systempaths=unconfined",
    "label=disable",
    "writable-cgroups=true",
  ]);
  expect(parsed).toEqual({
    noNewPrivileges: true,
    seccomp: "unconfined",
    apparmor: null,
    systemPathsConfined: false,
    writableCgroups: true,
  });
  expect(() => parseSecurityOptions(["x"])).toThrow('invalid --security-opt 1: "x"');
  expect(() => parseSecurityOptions(["x=y"])).toThrow('invalid --security-opt 2: "x=y"');
});

test("AppArmor confines by Docker's profile where the host has it, and is nothing elsewhere", () => {
  const profile = (apparmor: string | null, privileged: boolean, enabled = true) =>
    apparmorProfileOf({ apparmor }, { privileged, enabled });
  expect(profile(null, false)).toBe("docker-default");
  expect(profile(null, true)).toBe("unconfined");
  expect(profile("mine", true)).toBe("mine");
  expect(profile("mine", false, false)).toBeNull();
});

test("mounts have clean targets, parents first, and no two in one place", () => {
  const bind = (target: string) => ({
    type: "bind" as const,
    source: "/src",
    target,
    readOnly: false,
    propagation: "rprivate" as const,
    recursive: true,
    createSource: true,
  });
  const mounts = resolveMounts([bind("/a/b/c/"), bind("/a")], ["/v", "/a"], {
    newName: () => "anon",
    imageOf,
  });
  expect(mounts.map(({ target }) => target)).toEqual(["/a", "/v", "/a/b/c"]);
  expect(() =>
    resolveMounts([bind("/a"), bind("/b/../a")], [], { newName: () => "", imageOf }),
  ).toThrow("Duplicate mount point: /a");
  expect(() => resolveMounts([bind("/")], [], { newName: () => "", imageOf })).toThrow(
    "destination can't be '/'",
  );
  expect(() => resolveMounts([bind("x")], [], { newName: () => "", imageOf })).toThrow(
    "mount path must be absolute",
  );
  const volume = {
    type: "volume" as const,
    name: "../x",
    target: "/a",
    readOnly: false,
    noCopy: false,
  };
  expect(() => resolveMounts([volume], [], { newName: () => "", imageOf })).toThrow(
    "includes invalid characters",
  );
});

test("a restart waits 100 ms, then twice as long, at most a minute, and anew after ten seconds", () => {
  expect(nextDelayMs(null, 5)).toBe(100);
  expect(nextDelayMs(100, 5)).toBe(200);
  expect(nextDelayMs(50_000, 5)).toBe(60_000);
  expect(nextDelayMs(60_000, 10_000)).toBe(100);
});

test("policies decide by exit code, by count and by who ended it", () => {
  const run = { exitCode: 1, manuallyStopped: false, restartCount: 2 };
  expect(restartsAfterExit({ name: "no" }, run)).toBe(false);
  expect(restartsAfterExit({ name: "on-failure", maximumRetries: 2 }, run)).toBe(false);
  expect(restartsAfterExit({ name: "on-failure", maximumRetries: 0 }, run)).toBe(true);
  const clean = { ...run, exitCode: 0 };
  expect(restartsAfterExit({ name: "on-failure", maximumRetries: 0 }, clean)).toBe(false);
  const stopped = { ...run, manuallyStopped: true };
  expect(restartsAfterExit({ name: "always" }, stopped)).toBe(false);
  expect(startsWithEngine({ name: "always" }, stopped)).toBe(true);
  expect(startsWithEngine({ name: "unless-stopped" }, stopped)).toBe(false);
});

test("detach keys are found across pieces, and nothing else is swallowed", () => {
  expect(parseDetachKeys("")).toEqual(new Uint8Array([16, 17]));
  expect(parseDetachKeys("ctrl-a,x,ctrl-[")).toEqual(new Uint8Array([1, 120, 27]));
  expect(parseDetachKeys("DEL,~")).toEqual(new Uint8Array([127, 126]));
  for (const bad of ["ctrl-", "ctrl-A", "é", "del", "a,,b"]) {
    expect(() => parseDetachKeys(bad)).toThrow(`Invalid detach keys (${bad}) provided`);
  }
  const watch = new DetachWatch(parseDetachKeys(""));
  expect(watch.feed(new Uint8Array([97, 16]))).toEqual({
    pass: new Uint8Array([97]),
    detached: false,
  });
  expect(watch.feed(new Uint8Array([98]))).toEqual({
    pass: new Uint8Array([16, 98]),
    detached: false,
  });
  watch.feed(new Uint8Array([16]));
  expect(watch.feed(new Uint8Array([17, 99])).detached).toBe(true);
});

test("without the sequence every byte passes, however it is cut", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 6 })), (chunks) => {
      const watch = new DetachWatch(new Uint8Array([16, 17]));
      const passed: number[] = [];
      const sent = chunks.flatMap((chunk) => [...chunk]).map((byte) => (byte === 17 ? 0 : byte));
      let at = 0;
      for (const chunk of chunks) {
        const part = Uint8Array.from(sent.slice(at, at + chunk.length));
        at += chunk.length;
        passed.push(...watch.feed(part).pass);
      }
      // The last byte may still wait for its second half.
      expect(sent.slice(0, passed.length)).toEqual(passed);
      expect(sent.length - passed.length).toBeLessThanOrEqual(1);
    }),
  );
});

test("hosts and resolv.conf have Docker's form", () => {
  const hosts = hostsFile({
    hostname: "web",
    domainname: "lan",
    addresses: ["172.18.0.2"],
    extraHosts: ["gate:host-gateway", "v6=[::2]"],
    gateways: () => ["172.18.0.1"],
    hostFile: null,
  });
  expect(hosts.split("\n")[0]).toBe("127.0.0.1\tlocalhost");
  expect(hosts).toEndWith("172.18.0.1\tgate\n::2\tv6\n172.18.0.2\tweb.lan web\n");
  const dotted = hostsFile({
    hostname: "web.shop.lan",
    domainname: "",
    addresses: ["172.18.0.2"],
    extraHosts: [],
    gateways: () => [],
    hostFile: null,
  });
  expect(dotted).toEndWith("172.18.0.2\tweb.shop.lan web\n");
  const request = { servers: [], search: [], options: [], keepLoopback: false, resolver: null };
  const file = (hostFile: string) => resolvFile({ ...request, hostFile });
  expect(file("nameserver 127.0.0.53\nsearch lan\n")).toContain(
    "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch lan\n",
  );
  expect(file("nameserver 10.0.0.1 # x\noptions ndots:2\n")).toContain(
    "nameserver 10.0.0.1\noptions ndots:2\n",
  );
  expect(resolvFile({ ...request, hostFile: "search lan", search: ["."] })).not.toContain("search");
  const resolver = { servers: ["10.0.0.1"] };
  expect(resolvFile({ ...request, hostFile: "search lan", resolver })).toContain(
    "\nnameserver 127.0.0.11\nsearch lan\noptions ndots:0\n\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n# ExtServers: [10.0.0.1]\n",
  );
});

test("times grow strictly and sort as text", () => {
  const at = new Date();
  const texts = Array.from({ length: 100 }, () => nowText(at));
  expect(texts.toSorted()).toEqual(texts);
  expect(new Set(texts).size).toBe(100);
  expect(millisecondsOf(texts[0] ?? "")).toBeGreaterThanOrEqual(at.getTime() - 1);
  expect(millisecondsOf("0001-01-01T00:00:00Z")).toBe(0);
});

test("ps is cut down to the container's processes", () => {
  const text = "UID PID CMD\nroot 1 init x\nroot 7 sh -c  two\nroot 77 no\n";
  expect(selectProcesses(text, new Set([7]))).toEqual({
    titles: ["UID", "PID", "CMD"],
    processes: [["root", "7", "sh -c two"]],
  });
  expect(() => selectProcesses("A B\n", new Set())).toThrow("Couldn't find PID field in ps output");
});

test("a filter's pattern cannot hang the engine", () => {
  const record = { name: "a".repeat(40), id: "0", state: { status: "created" } } as never;
  const request = { all: true, limit: 0, size: false, filters: { name: ["(a+)+$x"] } };
  const started = performance.now();
  selectContainers([record], request, {} as never);
  expect(performance.now() - started).toBeLessThan(5000);
});
