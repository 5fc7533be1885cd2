import { expect, test } from "bun:test";

import { encodeConfig, encodeHostConfig } from "../encode/host-config.ts";
import { decodeCreate } from "./container.ts";

const decode = (body: object, apiVersion = "1.51") =>
  decodeCreate(body, { name: "", platform: "", apiVersion });

test("a create request of the docker CLI says nothing that is not honoured, and reads back as asked", () => {
  const host = {
    Binds: ["/etc:/host/etc:ro,rslave", "data:/data", "/tmp:/tmp"],
    Mounts: [
      { Type: "bind", Source: "/srv", Target: "/srv", ReadOnly: true },
      {
        Type: "tmpfs",
        Target: "/cache",
        TmpfsOptions: { SizeBytes: 1024, Mode: 448, Options: [["noexec"], ["uid", "5"]] },
      },
      { Type: "volume", Target: "/anonymous" },
    ],
    Tmpfs: { "/scratch": "size=1m,noexec" },
    LogConfig: { Type: "json-file", Config: { "max-size": "1m" } },
    NetworkMode: "default",
    PortBindings: {
      "80/tcp": [
        { HostIp: "127.0.0.1", HostPort: "8080" },
        { HostIp: "", HostPort: "9000-9010" },
      ],
      "53/udp": [{ HostIp: "", HostPort: "" }],
    },
    RestartPolicy: { Name: "on-failure", MaximumRetryCount: 5 },
    CapAdd: ["NET_ADMIN"],
    PidMode: "host",
    IpcMode: "shareable",
    UTSMode: "host",
    CgroupnsMode: "host",
    Devices: [{ PathOnHost: "/dev/null", PathInContainer: "", CgroupPermissions: "" }],
    Ulimits: [{ Name: "nofile", Soft: 1024, Hard: 2048 }],
    NanoCpus: 1_500_000_000,
    Memory: 64_000_000,
    PidsLimit: 100,
    Sysctls: { "net.ipv4.ip_forward": "1" },
    MaskedPaths: [],
    ConsoleSize: [24, 80],
    Init: true,
    Runtime: "crun",
    ShmSize: 0,
    MemorySwappiness: -1,
  };
  const request = decode({ Image: "busybox", HostConfig: host });
  expect(request.host.resources.memorySwappiness).toBeNull();
  expect(encodeHostConfig(request.host)).toMatchObject({
    ...host,
    Mounts: [
      {
        Type: "bind",
        Source: "/srv",
        Target: "/srv",
        ReadOnly: true,
        BindOptions: { Propagation: "rprivate" },
      },
      host.Mounts[1] ?? {},
      { Type: "volume", Target: "/anonymous" },
    ],
    NetworkMode: "bridge",
    Devices: [{ PathOnHost: "/dev/null", PathInContainer: "/dev/null", CgroupPermissions: "rwm" }],
    ShmSize: 67_108_864,
    MemorySwappiness: null,
    ReadonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
  });
});

test("what was not said is not asked", () => {
  const { host, config } = decode({ Image: "busybox" });
  expect(config).toMatchObject({
    entrypoint: null,
    command: null,
    stopSignal: null,
    stopTimeoutSeconds: null,
  });
  expect(host).toMatchObject({
    networkMode: { mode: "network", name: "bridge" },
    restartPolicy: { name: "no" },
    maskedPaths: null,
    shmSizeBytes: null,
    resources: { memoryBytes: 0, pidsLimit: null },
  });
  expect(encodeConfig(config)).toMatchObject({
    Cmd: null,
    Entrypoint: null,
    Labels: {},
    OnBuild: null,
  });
});

test('an entrypoint of "" takes the image\'s away', () => {
  expect(decode({ Image: "a", Entrypoint: [""] }).config.entrypoint).toEqual([]);
  expect(decode({ Image: "a", Entrypoint: "sh" }).config.entrypoint).toEqual(["sh"]);
});

test("the MAC address of the default network is the container's", () => {
  const { config } = decode({
    Image: "a",
    NetworkingConfig: { EndpointsConfig: { default: { MacAddress: "02:42:ac:11:00:02" } } },
  });
  expect(config.macAddress).toBe("02:42:ac:11:00:02");
});

test("the network of the mode comes first, and every other one behind it", () => {
  const EndpointsConfig = {
    other: { Aliases: ["db"], IPAMConfig: { IPv4Address: "10.9.0.5" }, GwPriority: 3 },
    main: { DriverOpts: { a: "b" } },
  };
  const asked = (NetworkMode: string) =>
    decode({ Image: "a", HostConfig: { NetworkMode }, NetworkingConfig: { EndpointsConfig } });
  const other = { network: "other", aliases: ["db"], ipv4: "10.9.0.5", gatewayPriority: 3 };
  expect(asked("main").networks).toEqual([{ network: "main", driverOptions: { a: "b" } }, other]);
  expect(asked("default").networks?.[0]).toEqual({ network: "bridge" });

  expect(() => asked("host")).toThrow("container sharing network namespace with another");
  expect(() => asked("none")).toThrow("private (none) mode");
});

test("a bind option that an older client could not mean is passed over", () => {
  const body = {
    Image: "a",
    HostConfig: {
      Mounts: [
        {
          Type: "bind",
          Source: "/a",
          Target: "/b",
          ReadOnly: true,
          BindOptions: { ReadOnlyNonRecursive: true },
        },
      ],
    },
  };
  expect(decode(body, "1.43").host.mounts[0]).not.toHaveProperty("readOnlyReach");
  expect(decode(body).host.mounts[0]).toHaveProperty("readOnlyReach", "top");
});

test("words of other systems are shown again and mean nothing, as dockerd on Linux has it", () => {
  const host = { Cgroup: "container:x", CpuCount: 3, CpuPercent: 50 };
  const { host: decoded } = decode({ Image: "busybox", HostConfig: host });
  expect(encodeHostConfig(decoded)).toMatchObject(host);
  expect(decode({ Image: "busybox" }).host.withoutMeaning).toBeUndefined();
});
