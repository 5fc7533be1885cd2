import { expect, test } from "bun:test";

import { designNetwork } from "./design.ts";
import type { Network, NetworkRequest } from "./network-service.ts";
import { defaultRoutes } from "./routes.ts";

const request = (more: Partial<NetworkRequest> = {}): NetworkRequest => ({
  name: "net",
  driver: "",
  ipv4: true,
  ipv6: false,
  internal: false,
  attachable: false,
  labels: {},
  options: {},
  ipam: { driver: "", options: {}, pools: [] },
  ...more,
});

const pool = (subnet: string, more: Partial<NetworkRequest["ipam"]["pools"][number]> = {}) => ({
  subnet,
  gateway: "",
  ipRange: "",
  auxiliary: {},
  ...more,
});

const withPools = (...pools: NetworkRequest["ipam"]["pools"]) =>
  request({ ipam: { driver: "default", options: {}, pools } });

const design = (asked: NetworkRequest, networks: readonly Network[] = []): Network =>
  designNetwork(asked, {
    networks,
    chooser: { choose4: () => "10.1.0.0/16", choose6: () => "fd00::/64" },
    linkNameOf: (id) => `naru-${id.slice(0, 10)}`,
  });

test("a network that asks for nothing gets a subnet, its first address as gateway, and a link", () => {
  const network = design(request());
  expect(network).toMatchObject({ subnet: "10.1.0.0/16", gateway: "10.1.0.1", mtu: 1500 });
  expect(network.bridge).toBe(`naru-${network.id.slice(0, 10)}`);
  expect(design(request({ ipv4: false, ipv6: true })).custom?.pools).toEqual([
    {
      family: "ipv6",
      subnet: "fd00::/64",
      gateway: "fd00::1",
      ipRange: null,
      auxiliary: {},
      chosen: "subnet",
    },
  ]);
});

test("the gateway nobody chose is the first free address of the range", () => {
  const ranged = pool("10.2.0.0/24", { ipRange: "10.2.0.128/25" });
  expect(design(withPools(ranged)).gateway).toBe("10.2.0.128");
  const taken = pool("10.2.0.0/24", { auxiliary: { printer: "10.2.0.1" } });
  expect(design(withPools(taken)).gateway).toBe("10.2.0.2");
});

test("every mistake in a subnet is told at once, in Docker's words", () => {
  const wrong = pool("10.2.0.0/24", {
    gateway: "10.3.0.1",
    ipRange: "10.2.0.0/16",
    auxiliary: { a: "x" },
  });
  for (const sentence of [
    "invalid network config:",
    "invalid ip-range 10.2.0.0/16: CIDR block is bigger than its parent subnet 10.2.0.0/24",
    "invalid gateway 10.3.0.1: parent subnet 10.2.0.0/24 doesn't contain this address",
    "invalid auxiliary address a: invalid address",
  ]) {
    expect(() => design(withPools(wrong))).toThrow(sentence);
  }
  expect(() => design(withPools(pool("10.2.0.0")))).toThrow("invalid CIDR block notation");
  expect(() => design(withPools(pool("10.2.0.0/24"), pool("10.3.0.0/24")))).toThrow(
    "bridge driver doesn't support multiple subnets",
  );
});

test("names, drivers and options that make no sense are refused", () => {
  const refusals: [Partial<NetworkRequest>, string][] = [
    [{ name: "" }, "name is empty"],
    [{ name: "host" }, "operation is not permitted on predefined host network"],
    [{ name: "../x" }, "invalid network name"],
    [{ driver: "overlay" }, "not a swarm manager"],
    [{ ipv4: false }, "IPv4 or IPv6 must be enabled"],
    [{ options: { "com.docker.network.driver.mtu": "1e3" } }, "invalid MTU number: 1e3"],
    [
      { options: { "com.docker.network.bridge.gateway_mode_ipv4": "isolated" } },
      "internal network",
    ],
    [{ options: { "com.docker.network.bridge.name": 'a"; drop' } }, "invalid bridge name"],
    [{ driver: "ipvlan", options: { ipvlan_mode: "l9" } }, "ipvlan mode 'l9' is not valid"],
    [{ labels: { big: "x".repeat(2_000_000) } }, "too long"],
  ];
  for (const [more, sentence] of refusals) {
    expect(() => design(request(more))).toThrow(sentence);
  }
});

test("a subnet of another network is taken", () => {
  const first = design(withPools(pool("10.2.0.0/16")));
  expect(() => design(request({ name: "net" }), [first])).toThrow("already exists");
  const second = { ...withPools(pool("10.2.3.0/24")), name: "other" };
  expect(() => design(second, [first])).toThrow(
    "Pool overlaps with other one on this address space",
  );
});

test("default routes go to the greatest priority, then to the first name, family by family", () => {
  const candidate = (
    networkName: string,
    priority: number,
    gateway4: boolean,
    gateway6: boolean,
  ) => ({
    networkName,
    priority,
    gateway4,
    gateway6,
  });
  const routes = defaultRoutes([
    candidate("b", 0, true, true),
    candidate("a", 0, true, false),
    candidate("inner", 9, false, false),
  ]);
  expect(routes).toEqual([
    { ipv4: false, ipv6: true },
    { ipv4: true, ipv6: false },
    { ipv4: false, ipv6: false },
  ]);
  expect(
    defaultRoutes([candidate("a", 0, true, false), candidate("b", 1, true, false)])[1]?.ipv4,
  ).toBe(true);
});
