import { expect, test } from "bun:test";

import { checkLogOptions, type LogInfo, logTargetOf } from "./index.ts";

const check =
  (driver: string, options: Record<string, string> = {}) =>
  () =>
    checkLogOptions({ driver, options });

const info: LogInfo = {
  id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
  name: "web",
  imageId: "sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
  imageName: "busybox:latest",
  path: "sh",
  args: ["-c", "true"],
  createdAt: "2026-01-01T00:00:00.000000000Z",
  labels: { a: "1", "com.example.b": "2" },
  environment: ["E=x=y", "F=z", "NOTHING"],
  jsonPath: "/c/x-json.log",
  localPath: "/c/local-logs/container.log",
  spoolFolder: "/spool/x",
};

test("a driver that is not there is refused by its name", () => {
  for (const name of ["awslogs", "splunk", "gcplogs", "etwlogs", "loki:latest", ""]) {
    expect(check(name)).toThrow(`logger: no log driver named '${name}' is registered`);
  }
});

test("options are refused in Docker's sentences", () => {
  const json = (options: Record<string, string>) => check("json-file", options);
  expect(json({ foo: "1" })).toThrow("unknown log opt 'foo' for json-file log driver");
  expect(check("local", { foo: "1" })).toThrow("unknown log opt 'foo' for log driver local");
  expect(json({ "max-file": "3" })).not.toThrow();
  expect(json({ "max-size": "10x" })).toThrow("invalid size: '10x'");
  expect(json({ "max-size": "0" })).toThrow("max-size must be a positive number");
  expect(json({ "max-file": "0" })).toThrow("max-file cannot be less than 1");
  expect(json({ compress: "true" })).toThrow("compress cannot be true when max-file is less");
  expect(json({ mode: "fast" })).toThrow("logger: logging mode not supported: fast");
  expect(json({ "max-buffer-size": "1m" })).toThrow(
    "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
  );
  expect(json({ mode: "non-blocking", "max-buffer-size": "x" })).toThrow(
    "error parsing option max-buffer-size: invalid size: 'x'",
  );
  expect(json({ mode: "non-blocking", "max-buffer-size": "4m" })).not.toThrow();
  expect(json({ "cache-disabled": "perhaps" })).toThrow(
    "invalid value for option cache-disabled: perhaps",
  );
  expect(check("none", { anything: "1" })).not.toThrow();
});

test("each server's options are refused in the driver's own sentence", () => {
  const syslog = (options: Record<string, string>) => check("syslog", options);
  expect(syslog({ foo: "1" })).toThrow("unknown log opt 'foo' for syslog log driver");
  expect(syslog({ "syslog-address": "http://x" })).toThrow("unsupported scheme: 'http'");
  expect(syslog({ "syslog-address": "unix:///nowhere" })).toThrow(
    "stat /nowhere: no such file or directory",
  );
  expect(syslog({ "syslog-facility": "shout" })).toThrow("invalid syslog facility");
  expect(syslog({ "syslog-facility": "24" })).toThrow("invalid syslog facility");
  expect(syslog({ "syslog-format": "xml" })).toThrow("invalid syslog format");
  expect(
    syslog({ "syslog-address": "tcp+tls://[::1]:6514", "syslog-facility": "3" }),
  ).not.toThrow();

  const fluentd = (options: Record<string, string>) => check("fluentd", options);
  expect(fluentd({ foo: "1" })).toThrow("unknown log opt 'foo' for fluentd log driver");
  expect(fluentd({ "fluentd-address": "udp://x:1" })).toThrow(
    "invalid fluentd-address (udp://x:1): unsupported scheme: 'udp'",
  );
  expect(fluentd({ "fluentd-retry-wait": "soon" })).toThrow('time: invalid duration "soon"');
  expect(fluentd({ "fluentd-max-retries": "-1" })).toThrow("strconv.ParseUint");
  expect(fluentd({ "fluentd-async": "maybe" })).toThrow("strconv.ParseBool");
  expect(fluentd({ "fluentd-buffer-limit": "8MB", "fluentd-retry-wait": "1m1.5s" })).not.toThrow();

  const gelf = (options: Record<string, string>) => check("gelf", options);
  expect(gelf({})).toThrow("gelf-address is a required parameter");
  expect(gelf({ "gelf-address": "udp://x" })).toThrow(
    "gelf: please provide gelf-address as proto://host:port",
  );
  expect(gelf({ "gelf-address": "x:1" })).toThrow(
    "gelf-address should be in form proto://address, got x:1",
  );
  const udp = { "gelf-address": "udp://x:1" };
  const tcp = { "gelf-address": "tcp://x:1" };
  expect(gelf({ ...udp, foo: "1" })).toThrow('unknown log opt "foo" for gelf log driver');
  expect(gelf({ ...udp, "gelf-compression-level": "10" })).toThrow(
    'unknown value "10" for log opt "gelf-compression-level" for gelf log driver',
  );
  expect(gelf({ ...tcp, "gelf-compression-type": "gzip" })).toThrow(
    "compression is only supported on UDP",
  );
  expect(gelf({ ...udp, "gelf-tcp-max-reconnect": "1" })).toThrow("is only valid for TCP");
  expect(gelf({ ...tcp, "gelf-tcp-max-reconnect": "-1" })).toThrow("must be a positive integer");
  expect(check("journald", { "journald-x": "1" })).toThrow(
    "unknown log opt 'journald-x' for journald log driver",
  );
});

test("a file's target has Docker's sizes, and the attributes that were asked for", () => {
  const options = { "max-size": "10m", "max-file": "3", labels: "a,none", env: "E" };
  expect(logTargetOf({ driver: "json-file", options }, info)).toEqual({
    driver: "json-file",
    path: "/c/x-json.log",
    maxSizeBytes: 10_000_000,
    maxFiles: 3,
    compress: false,
    attributes: { a: "1", E: "x=y" },
  });
  const regex = { "labels-regex": "^com\\.", "env-regex": "F", tag: "{{.Name}}/{{.ID}}" };
  expect(logTargetOf({ driver: "local", options: regex }, info)).toEqual({
    driver: "local",
    path: "/c/local-logs/container.log",
    format: "raw",
    maxSizeBytes: 20 * 1024 * 1024,
    maxFiles: 5,
    compress: true,
    attributes: { "com.example.b": "2", F: "z", tag: "web/0123456789ab" },
  });
  expect(() =>
    logTargetOf({ driver: "json-file", options: { tag: "{{.Nothing}}" } }, info),
  ).toThrow("failed to create task for container: failed to initialize logging driver: template");
});
