import { describe, expect, test } from "bun:test";

import { containerFlags } from "../commands/container-flags.ts";
import { parseFlags } from "../flags/parse.ts";
import { containerRequest } from "./container-request.ts";

const request = (...words: string[]) => {
  const { flags, args } = parseFlags([...words, "image", "cmd"], containerFlags("running"), {
    interspersed: false,
  });
  return containerRequest(flags, args, { FOO: "bar" }).config;
};

describe("flags of run become the API's request", () => {
  test("ports", () => {
    const { ExposedPorts: exposed, HostConfig: host } = request(
      "-p=80",
      "-p",
      "127.0.0.1:8080:81/udp",
      "-p",
      "1000-1001:2000-2001",
      "-p",
      "8000-8010:92",
      "-p",
      "[::1]::93",
      "--expose",
      "5-6",
    );
    expect(host?.PortBindings).toEqual({
      "80/tcp": [{ HostIp: "", HostPort: "" }],
      "81/udp": [{ HostIp: "127.0.0.1", HostPort: "8080" }],
      "2000/tcp": [{ HostIp: "", HostPort: "1000" }],
      "2001/tcp": [{ HostIp: "", HostPort: "1001" }],
      "92/tcp": [{ HostIp: "", HostPort: "8000-8010" }],
      "93/tcp": [{ HostIp: "::1", HostPort: "" }],
    });
    expect(Object.keys(exposed ?? {})).toContain("6/tcp");
  });

  test("volumes: binds, names, anonymous ones, and a relative path made absolute", () => {
    const { Volumes: volumes, HostConfig: host } = request(
      "-v",
      "/a:/b:ro",
      "-v",
      "vol:/c",
      "-v",
      "/anon",
      "-v",
      "./x:/d",
      "--tmpfs",
      "/t:size=5m",
    );
    expect(host?.Binds).toEqual(["/a:/b:ro", "vol:/c", `${process.cwd()}/x:/d`]);
    expect(volumes).toEqual({ "/anon": {} });
    expect(host?.Tmpfs).toEqual({ "/t": "size=5m" });
  });

  test("an empty --entrypoint clears the image's", () => {
    expect(request("--entrypoint=").Entrypoint).toEqual([""]);
    expect(request().Entrypoint).toBeNull();
  });

  test("health", () => {
    expect(request("--health-cmd", "x", "--health-interval", "5s").Healthcheck).toEqual({
      Test: ["CMD-SHELL", "x"],
      Interval: 5e9,
    });
    expect(request("--no-healthcheck").Healthcheck).toEqual({ Test: ["NONE"] });
  });

  test("capabilities get their full names", () => {
    expect(request("--cap-add", "net_admin", "--cap-drop", "all").HostConfig).toMatchObject({
      CapAdd: ["CAP_NET_ADMIN"],
      CapDrop: ["ALL"],
    });
  });

  test("the first network is the mode, every network an endpoint", () => {
    const { HostConfig: host, NetworkingConfig: networking } = request(
      "--network",
      "name=foo,alias=a,ip=10.0.0.5",
      "--network",
      "bar",
    );
    expect(host?.NetworkMode).toBe("foo");
    expect(networking?.EndpointsConfig).toEqual({
      foo: { Aliases: ["a"], IPAMConfig: { IPv4Address: "10.0.0.5" } },
      bar: {},
    });
  });

  test.each([
    [["-p", "99999:1"], "invalid hostPort: 99999"],
    [
      ["-p", "80-81:80-82"],
      "invalid ranges specified for container and host Ports: 80-82 and 80-81",
    ],
    [["-p", "1.2.3:80:80"], "invalid IP address: 1.2.3"],
    [["-p", "80/xyz"], "invalid proto: xyz"],
    [["-p", ""], "no port specified: <empty>"],
    [
      ["--expose", "90-80"],
      "invalid range format for --expose: 90-80, error: invalid range specified for port: 90-80",
    ],
    [["--env-file", "/nonexist"], "open /nonexist: no such file or directory"],
    [["--env-file", "/etc"], "invalid env file (/etc): read /etc: is a directory"],
    [
      ["--rm", "--restart", "always"],
      "conflicting options: cannot specify both --restart and --rm",
    ],
    [["--security-opt", "foo"], 'Invalid --security-opt: "foo"'],
    [["--mac-address", "zz"], "zz is not a valid mac address"],
    [["--pid", "x"], "--pid: invalid PID mode"],
    [["-v", "/a:"], "invalid spec: /a:: empty section between colons"],
    [["--memory-swappiness", "101"], "invalid value: 101. Valid memory swappiness range is 0-100"],
    [["--health-interval=-1s"], "--health-interval cannot be negative"],
    [["--add-host", "x"], 'bad format for add-host: "x"'],
    [
      ["--ulimit", "nofile=5:2"],
      "ulimit soft limit must be less than or equal to hard limit: 5 > 2",
    ],
    [["--kernel-memory", "5m"], "--kernel-memory is not supported"],
  ])("%p is refused in docker's words", (words, message) => {
    expect(() => request(...words)).toThrow(message);
  });
});
