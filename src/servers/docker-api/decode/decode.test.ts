import { expect, test } from "bun:test";

import { encodeConfig, encodeHostConfig } from "../encode/host-config.ts";
import { decodeChanges } from "./changes.ts";
import { decodeCreate } from "./container.ts";
import { decodeBind } from "./mounts.ts";
import { decodeCredentials } from "./registry-auth.ts";

const decode = (body: object, apiVersion = "1.51") =>
  decodeCreate(body, { name: "", platform: "", apiVersion }).request;

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
  expect(() =>
    decode({
      Image: "a",
      HostConfig: { NetworkMode: "bridge" },
      NetworkingConfig: { EndpointsConfig: { other: {} } },
    }),
  ).toThrow("several networks");
});

test("a bind option that an older client could not mean is passed over, a newer one is refused", () => {
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
  expect(decode(body, "1.43").host.mounts).toHaveLength(1);
  expect(() => decode(body)).toThrow("ReadOnlyNonRecursive is not implemented yet");
});

test("-v in all its forms", () => {
  expect(decodeBind("/data")).toMatchObject({ type: "volume", name: "", target: "/data" });
  expect(decodeBind("cache:/c:nocopy,ro")).toMatchObject({
    type: "volume",
    name: "cache",
    noCopy: true,
    readOnly: true,
  });
  expect(decodeBind("/a:/b:z")).toMatchObject({
    type: "bind",
    readOnly: false,
    propagation: "rprivate",
  });
  for (const broken of [
    "",
    ":",
    "a:",
    ":/b",
    "/a:/b:rw:z",
    "/a:/b:sideways",
    "v:/b:rshared",
    "/a:/b:nocopy",
  ]) {
    expect(() => decodeBind(broken)).toThrow();
  }
});

test("--change reads the instructions that set an image's config", () => {
  expect(
    decodeChanges([
      'CMD ["sh", "-c", "echo $HOME"]',
      "ENTRYPOINT exec top -b",
      'ENV A=1 B="two words" C=\\$A\nENV D three $A times',
      "LABEL who='me'",
      "EXPOSE 80 8000-8002/udp",
      "VOLUME /a /b",
      "WORKDIR /srv\nWORKDIR app",
      "USER 5:5",
      "STOPSIGNAL SIGINT",
    ]),
  ).toEqual({
    Cmd: ["sh", "-c", "echo $HOME"],
    Entrypoint: ["/bin/sh", "-c", "exec top -b"],
    Env: ["A=1", "B=two words", "C=$A", "D=three 1 times"],
    Labels: { who: "me" },
    ExposedPorts: { "80/tcp": {}, "8000/udp": {}, "8001/udp": {}, "8002/udp": {} },
    Volumes: { "/a": {}, "/b": {} },
    WorkingDir: "/srv/app",
    User: "5:5",
    StopSignal: "SIGINT",
  });
  expect(() => decodeChanges(["RUN true"])).toThrow("run is not a valid change command");
  expect(() => decodeChanges(["NONSENSE x"])).toThrow("unknown instruction: NONSENSE");
  expect(() => decodeChanges(['ENV A="1'])).toThrow("matching quote");
  expect(() => decodeChanges(["CMD"])).toThrow("requires at least one argument");
});

test("credentials come in base64, with or without the URL's alphabet; what cannot be read is none", () => {
  const header = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  expect(
    decodeCredentials(header({ username: "ü?", password: "p>", serveraddress: "r:1" })),
  ).toEqual({
    username: "ü?",
    password: "p>",
    serverAddress: "r:1",
  });
  expect(decodeCredentials(header({ auth: Buffer.from("u:p:q").toString("base64") }))).toEqual({
    username: "u",
    password: "p:q",
  });
  expect(decodeCredentials(header({ identitytoken: "t" }))).toEqual({ identityToken: "t" });
  for (const none of ["", "###", header({}), header({ username: 7 })]) {
    expect(decodeCredentials(none)).toBeUndefined();
  }
});
