import { expect, test } from "bun:test";

import { openGuard } from "./guard.ts";

const guard = openGuard({
  names: ["build.example.com"],
  anyHost: false,
  isContainers: (address) => address === "172.18.0.2",
});
const socket = { remoteAddress: "192.0.2.1" };
const ask = (headers: Record<string, string>) => () => guard({ headers, socket });

test("a container is served only where it proves itself", () => {
  const [headers, own] = [{ host: "172.18.0.1:2375" }, { remoteAddress: "172.18.0.2" }];
  expect(() => guard({ headers, socket: own })).toThrow("the API is served to no container");
  const proven = openGuard({ names: [], anyHost: true, isContainers: () => true });
  expect(() => proven({ headers, socket: own })).not.toThrow();
});

test("addresses, names without dots and names of the operator are hosts of ours", () => {
  const hosts = [
    "127.0.0.1:2375",
    "[::1]:2375",
    "localhost",
    "docker:2375",
    "box.local",
    "BUILD.example.com:1",
    "",
  ];
  for (const host of hosts) expect(ask({ host })).not.toThrow();
});

test("a name that a stranger can register is refused: it may lead here by DNS rebinding", () => {
  const hosts = [
    "evil.example",
    "127.0.0.1.evil.example:2375",
    "localhost.evil.example",
    "a b.c",
    "1.2.3.4@evil.example",
  ];
  for (const host of hosts) expect(ask({ host })).toThrow("Host header");
});

test("a page of another origin is refused, one of our own is not", () => {
  const host = "127.0.0.1:2375";
  expect(ask({ host, origin: "http://127.0.0.1:2375" })).not.toThrow();
  for (const origin of ["http://evil.example", "null", "http://127.0.0.1:8080", ""]) {
    expect(ask({ host, origin })).toThrow("other web pages");
  }
  expect(ask({ host, "sec-fetch-site": "cross-site" })).toThrow("other web pages");
});

test("a client with a certificate may call us what it likes, but a page may still not use it", () => {
  const trusting = openGuard({ names: [], anyHost: true, isContainers: () => false });
  expect(() => trusting({ headers: { host: "engine.example" }, socket })).not.toThrow();
  expect(() =>
    trusting({ headers: { host: "engine.example", origin: "https://evil.example" }, socket }),
  ).toThrow();
});
