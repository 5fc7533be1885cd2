import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { helpText } from "./daemon-flag-parser.ts";
import { type DaemonOptions, readInvocation } from "./daemon-options.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function configFile(text: string): string {
  const folder = mkdtempSync("/tmp/naru-test-daemon-");
  folders.push(folder);
  const path = join(folder, "daemon.json");
  writeFileSync(path, text);
  return path;
}

function optionsOf(...args: string[]): DaemonOptions {
  const invocation = readInvocation(args);
  if (invocation.action !== "run") throw new Error(invocation.action);
  return invocation.options;
}

test("without flags it is the system's engine", () => {
  expect(optionsOf()).toMatchObject({
    dataRoot: "/var/lib/naru",
    execRoot: "/run/naru",
    hosts: [{ kind: "unix", path: "/run/naru/naru.sock" }],
    tls: null,
    liveRestore: true,
    experimental: false,
    shutdownTimeoutSeconds: 15,
    maxConcurrentDownloads: 3,
    pidFile: "/run/naru/naru.pid",
    logLevel: "info",
    engine: {
      defaultRuntime: "naru",
      cgroupParent: "/naru",
      defaultShmSizeBytes: 64 * 1024 * 1024,
      defaultLog: { driver: "json-file", options: {} },
    },
  });
});

test("the oldest API is the environment's, as dockerd reads it", () => {
  const before = process.env["DOCKER_MIN_API_VERSION"];
  const asked = (text: string): string => {
    process.env["DOCKER_MIN_API_VERSION"] = text;
    try {
      return optionsOf().minApiVersion;
    } catch (cause) {
      return (cause as Error).message.replace("invalid DOCKER_MIN_API_VERSION: ", "");
    } finally {
      if (before === undefined) delete process.env["DOCKER_MIN_API_VERSION"];
      else process.env["DOCKER_MIN_API_VERSION"] = before;
    }
  };
  expect([asked(""), asked("1.44"), asked("1.51")]).toEqual(["1.24", "1.44", "1.51"]);
  expect(asked("v1.44")).toBe('API version must be provided without "v" prefix');
  expect(asked("1.23")).toBe("minimum supported API version is 1.24: 1.23");
  expect(asked("old")).toBe("minimum supported API version is 1.24: old");
  expect(asked("1.52")).toBe("maximum supported API version is 1.51: 1.52");
});

test("engines with other data roots have other cgroups", () => {
  const parents = ["/tmp/n1", "/tmp/n2"].map((root) => optionsOf("--data-root", root).engine);
  expect(new Set(parents.map(({ cgroupParent }) => cgroupParent)).size).toBe(2);
});

test("flags are written as Docker's: long, short, joined, repeated", () => {
  const args =
    "-D -H unix:///a --host=unix:///b -lwarn --log-opt max-size=1m --mtu=1400 --init=false " +
    "--insecure-registry r:5000 -b naru9";
  const options = optionsOf(...args.split(" "));
  expect(options).toMatchObject({
    hosts: [
      { kind: "unix", path: "/a" },
      { kind: "unix", path: "/b" },
    ],
    logLevel: "debug",
    network: { bridge: "naru9", mtu: 1400 },
    insecureRegistries: ["r:5000"],
    engine: { init: false, defaultLog: { options: { "max-size": "1m" } } },
  });
});

test("what it cannot do is refused with a sentence", () => {
  const refused = (...args: string[]) => expect(() => optionsOf(...args));
  refused("--turbo").toThrow("unknown flag: --turbo");
  refused("-Z").toThrow("unknown shorthand flag: 'Z' in -Z");
  refused("extra").toThrow('"naru daemon" accepts no arguments: extra');
  refused("--mtu").toThrow("flag needs an argument: --mtu");
  refused("--mtu", "x").toThrow('invalid argument "x" for "--mtu" flag');
  refused("-H", "unix://relative").toThrow("must be absolute");
  refused("-H", "npipe://x").toThrow("invalid bind address (npipe://x): unsupported proto 'npipe'");
  refused("-H", "tcp://h:1/x").toThrow("should not contain a path element");
  refused("-H", "tcp://h:70000").toThrow("invalid port: 70000");
  refused("--selinux-enabled").toThrow("selinux-enabled cannot be true with this engine");
  refused("--storage-driver", "zfs").toThrow("driver not supported: zfs");
  refused("--exec-opt", "native.cgroupdriver=systemd").toThrow("invalid exec-opt");
  refused("--default-ipc-mode", "host").toThrow("is not supported as default value");
  refused("--default-cgroupns-mode", "x").toThrow("invalid default cgroup namespace (x)");
  refused("--seccomp-profile", "/no/such").toThrow("opening seccomp profile (/no/such) failed");
  refused("--label", "novalue").toThrow("bad attribute format: novalue");
  refused("--label", "a=1", "--label", "a=2").toThrow("conflict labels for a=2 and a=1");
  refused("--registry-mirror", "ftp://x").toThrow('invalid mirror: unsupported scheme "ftp"');
  refused("--max-concurrent-downloads", "-1").toThrow("invalid max concurrent downloads: -1");
  refused("--config-file", "/nowhere/daemon.json").toThrow("no such file or directory");
  refused("--log-level", "loud").toThrow("invalid logging level: loud");
  refused("--default-runtime", "kata").toThrow("specified default runtime 'kata' does not exist");
  refused("--log-driver", "papyrus").toThrow("no log driver named 'papyrus' is registered");
  refused("--init-path", "/no/such/init").toThrow("there is no such program");
});

test("the configuration file has Docker's keys, and flags add to it but never contradict it", () => {
  const path = configFile(
    JSON.stringify({
      "data-root": "/tmp/d",
      "insecure-registries": ["r:5000"],
      "log-opts": { "max-size": "2m" },
      runtimes: { other: { path: "/usr/bin/other" } },
      "default-ulimits": { nofile: { Name: "nofile", Soft: 1, Hard: 2 } },
    }),
  );
  const options = optionsOf("--config-file", path, "--bridge", "naru7");
  expect(options).toMatchObject({ dataRoot: "/tmp/d", insecureRegistries: ["r:5000"] });
  expect(options.engine.runtimes.get("other")).toBe("/usr/bin/other");
  expect(options.engine.defaultUlimits).toEqual([{ name: "nofile", soft: 1, hard: 2 }]);
  expect(() => optionsOf("--config-file", path, "--data-root", "/x")).toThrow(
    "specified both as a flag and in the configuration file: data-root: (from flag: /x, from file: /tmp/d)",
  );
});

test("a configuration with unknown keys, wrong types or no JSON is refused", () => {
  const refused = (text: string) => expect(() => optionsOf("--config-file", configFile(text)));
  refused('{"turbo": false}').toThrow(
    "the following directives don't match any configuration option: turbo",
  );
  refused(`{"rootless": true}`).toThrow("rootless cannot be true with this engine");
  refused('{"features": {"nonsense": false}}').toThrow("features: nonsense is not known");
  refused('{"ip": "nowhere"}').toThrow("nowhere is not an ip address");
  refused('{"host-gateway-ips": ["10.0.0.1", "10.0.0.2"]}').toThrow("only one IPv4 host gateway");
  refused('{"features": {"cdi": 1}}').toThrow("neither true nor false");
  refused('{"mtu": "1400"}').toThrow('the configuration\'s "mtu" is not of the form');
  refused("{").toThrow("unable to configure the Docker daemon with file");
  refused("[]").toThrow("it is no JSON object");
});

test("validate, help and version do not start anything", () => {
  const action = (...args: string[]) => readInvocation(args).action;
  expect(action("--validate")).toBe("validate");
  expect(action("--help")).toBe("help");
  expect(action("-v")).toBe("version");
  expect(action("--uninstall")).toBe("uninstall");
  expect(helpText()).toContain("--data-root");
});

test("TLS is asked for by either switch, and verified unless that is refused aloud", () => {
  const tls = (...args: string[]) => optionsOf("-H", "tcp://127.0.0.1", ...args);
  expect(tls()).toMatchObject({ tls: null, tlsRefused: false, hosts: [{ port: 2375 }] });
  expect(tls("--tlsverify", "--tlscacert", "/ca")).toMatchObject({
    tls: { clientAuthority: "/ca" },
    hosts: [{ kind: "tcp", address: "127.0.0.1", port: 2376 }],
  });
  expect(tls("--tls").tls?.clientAuthority).toEndWith("/ca.pem");
  expect(tls("--tlsverify=false").tls?.clientAuthority).toBeNull();
  expect(tls("--tls=false")).toMatchObject({ tls: null, tlsRefused: true });
});

test("fixed options may be said, and proxies may stand in their group", () => {
  const path = configFile(
    JSON.stringify({
      iptables: true,
      "storage-driver": "overlay2",
      proxies: { "http-proxy": "http://u:p@proxy:3128", "no-proxy": "localhost" },
      features: { buildkit: false, cdi: true },
    }),
  );
  expect(optionsOf("--config-file", path)).toMatchObject({
    proxies: { http: "http://u:p@proxy:3128", none: "localhost" },
    features: { buildkit: false, cdi: true },
  });
  expect(() => optionsOf("--config-file", path, "--http-proxy", "http://a:b@c")).toThrow(
    "http-proxy: (from flag: http://xxxxx:xxxxx@c, from file: http://xxxxx:xxxxx@proxy:3128)",
  );
});

test("networks are said by flag and file, the flag's words over the file's", () => {
  const path = configFile(
    JSON.stringify({
      ipv6: true,
      "fixed-cidr-v6": "fd00:1::/64",
      "default-gateway-v6": "fd00:1::9",
      icc: false,
      "ip-masq": false,
      runtimes: { worded: { path: "/bin/r", runtimeArgs: ["--x"] } },
      builder: { gc: { defaultKeepStorage: "1GB" } },
    }),
  );
  const options = optionsOf("--config-file", path, "--bip6", "fd00:1::1/64", "--userland-proxy=0");
  expect(options.network).toMatchObject({
    ipv6: true,
    bip6: "fd00:1::1/64",
    fixedCidr6: "fd00:1::/64",
    defaultGateway6: "fd00:1::9",
    icc: false,
    masquerade: false,
    relay: false,
  });
  expect(options.engine.runtimes.get("worded")).toBe('["/bin/r","--x"]');
  expect(options.cachePolicies?.length).toBe(4);
  const words = ["--default-network-opt", "bridge=a.b=c=d", "--default-network-opt=macvlan=x=1"];
  expect(optionsOf(...words).defaultNetworkOptions).toEqual({
    bridge: { "a.b": "c=d" },
    macvlan: { x: "1" },
  });
});

test("what is not of its family, or says nothing without IPv6, is refused", () => {
  const refused = (...args: string[]) => expect(() => optionsOf(...args));
  refused("--fixed-cidr-v6", "fd00::/64").toThrow("fixed-cidr-v6 needs ipv6");
  refused("--bip", "fd00::1/64").toThrow("parse bip failed: invalid CIDR address: fd00::1/64");
  refused("--bip6", "10.0.0.1/24", "--ipv6").toThrow("parse bip6 failed");
  refused("--fixed-cidr", "nonsense").toThrow("parse fixed-cidr failed");
  refused("--default-gateway", "fd00::1").toThrow("is not an IPv4 address");
  refused("--default-network-opt", "x=y").toThrow("use driver=name=value");
  for (const fixed of ["--rootless", "--containerd=/x", "--node-generic-resource=a=1"]) {
    refused(fixed).toThrow("with this engine");
  }
});
