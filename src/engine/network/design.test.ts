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

test("names are whatever is not blank, as in Docker", () => {
  for (const name of ["my net", "a/b", "../x", "ñ", "-", "container:x"]) {
    expect(design(request({ name })).name).toBe(name);
  }
  expect(() => design(request({ name: " \t" }))).toThrow("invalid name: name is empty");
  expect(() => design(request({ name: "x".repeat(256) }))).toThrow("invalid network name");
});

test("nobody has a subnet's own address, its broadcast address, or another's", () => {
  const refused = (sentence: string, subnet: string, more: Parameters<typeof pool>[1]) =>
    expect(() => design(request({ ...withPools(pool(subnet, more)), ipv6: true }))).toThrow(
      sentence,
    );
  const inUse = (gateway: string) =>
    `failed to allocate gateway (${gateway}): Address already in use`;
  refused(inUse("10.2.0.0"), "10.2.0.0/24", { gateway: "10.2.0.0" });
  refused(inUse("10.2.0.255"), "10.2.0.0/24", { gateway: "10.2.0.255" });
  refused(inUse("fd00:2:0::"), "fd00:2::/64", { gateway: "fd00:2:0::" });
  refused(
    "failed to allocate secondary ip address (a:10.2.0.9): Address already in use",
    "10.2.0.0/24",
    { gateway: "10.2.0.9", auxiliary: { a: "10.2.0.9" } },
  );
  refused(
    "failed to allocate secondary ip address (b:10.2.0.255): Address already in use",
    "10.2.0.0/24",
    { auxiliary: { b: "10.2.0.255" } },
  );
  // A link between two hosts has no broadcast address (RFC 3021).
  const two = pool("10.2.0.4/31", { gateway: "10.2.0.4" });
  expect(design(withPools(two)).gateway).toBe("10.2.0.4");
});

const CONFIGURATION = request({
  name: "config",
  driver: "macvlan",
  configOnly: true,
  labels: { of: "it" },
  options: { "com.docker.network.driver.mtu": "1400" },
  ipam: { driver: "", options: {}, pools: [pool("10.2.0.0/24", { gateway: "10.2.0.9" })] },
});

test("a configuration is nothing but options, and takes no subnet", () => {
  const configuration = design(CONFIGURATION);
  expect(configuration).toMatchObject({
    driver: "null",
    bridge: null,
    subnet: null,
    gateway: null,
  });
  expect(configuration.custom?.pools).toMatchObject([{ subnet: "10.2.0.0/24" }]);
  const other = design({ ...withPools(pool("10.2.0.0/16")), name: "other" }, [configuration]);
  expect(other.subnet).toBe("10.2.0.0/16");
  for (const more of [{ internal: true }, { attachable: true }, { scope: "local" as const }]) {
    expect(() => design({ ...CONFIGURATION, ...more })).toThrow(
      "configuration network can only contain network specific fields.",
    );
  }
  expect(() => design({ ...CONFIGURATION, configFrom: "x" })).toThrow(
    "a configuration network cannot depend on another configuration network",
  );
  const crooked = { ...CONFIGURATION, ipam: withPools(pool("10.2.0.1/24")).ipam };
  expect(() => design(crooked)).toThrow("it should be 10.2.0.0/24");
});

test("a network from a configuration has its settings, and may say none itself", () => {
  const configuration = design(CONFIGURATION);
  const from = (more: Partial<NetworkRequest> = {}, configFrom = "config") =>
    design(request({ configFrom, ...more }), [configuration]);
  expect(from({ internal: true })).toMatchObject({
    driver: "bridge",
    subnet: "10.2.0.0/24",
    gateway: "10.2.0.9",
    mtu: 1400,
    custom: { internal: true, labels: { of: "it" }, configFrom: "config" },
  });
  const own =
    "user specified configurations are not supported if the network depends on a configuration network";
  for (const more of [{ labels: { a: "b" } }, { ipv6: true }, { ipv4: false }]) {
    expect(() => from(more)).toThrow(own);
  }
  expect(() => from({ ipam: withPools(pool("10.3.0.0/24")).ipam })).toThrow(own);
  expect(() => from({ options: { a: "b" } })).toThrow("network driver options are not supported");
  expect(() => from({}, "nothing")).toThrow('configuration network "nothing" does not exist');
  const second = from();
  expect(() =>
    design(request({ name: "second", configFrom: "net" }), [configuration, second]),
  ).toThrow('configuration network "net" does not exist');
});
