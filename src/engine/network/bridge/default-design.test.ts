import { expect, test } from "bun:test";

import type { Network } from "../network-service.ts";
import { type DefaultBridgeOptions, designDefaultBridge } from "./default-design.ts";

const choices = {
  choose4: () => ({ subnet: "172.20.0.0/16", gateway: "172.20.0.1" }),
  choose6: () => "fd12:3456:789a::/64",
};

const design = (options: DefaultBridgeOptions, recorded: Partial<Network> | null = null) =>
  designDefaultBridge(options, recorded as Network | null, choices);

const poolsOf = (options: DefaultBridgeOptions, recorded: Partial<Network> | null = null) =>
  design(options, recorded).predefined.pools.map(
    ({ subnet, gateway, ipRange }) => `${subnet} ${gateway} ${ipRange}`,
  );

test("a bridge that nobody asked anything of has a chosen subnet and no IPv6", () => {
  expect(poolsOf({})).toEqual(["172.20.0.0/16 172.20.0.1 null"]);
  expect(poolsOf({ ipv6: true })).toEqual([
    "172.20.0.0/16 172.20.0.1 null",
    "fd12:3456:789a::/64 fd12:3456:789a::1 null",
  ]);
});

test("what was recorded stays, until a flag says otherwise", () => {
  const { subnet, gateway, predefined } = design({ ipv6: true, fixedCidr6: "fd00:1::/64" });
  const recorded = { subnet, gateway, predefined, custom: null };
  expect(poolsOf({ ipv6: true }, recorded)[1]).toBe("fd00:1::/64 fd00:1::1 null");
  expect(poolsOf({ bip: "10.1.0.5/24" }, recorded)).toEqual(["10.1.0.0/24 10.1.0.5 null"]);
});

test("a fixed range is the subnet itself where no address of the bridge holds it", () => {
  expect(poolsOf({ fixedCidr: "10.9.8.0/24" })).toEqual(["10.9.8.0/24 10.9.8.1 10.9.8.0/24"]);
  expect(poolsOf({ bip: "10.9.0.1/16", fixedCidr: "10.9.8.0/24" })).toEqual([
    "10.9.0.0/16 10.9.0.1 10.9.8.0/24",
  ]);
  expect(poolsOf({ ipv6: true, bip6: "fd00::5/64", fixedCidr6: "fd00::100/120" })[1]).toBe(
    "fd00::/64 fd00::5 fd00::100/120",
  );
  expect(() => design({ bip: "10.9.0.1/16", fixedCidr: "10.8.0.0/24" })).toThrow(
    "--fixed-cidr 10.8.0.0/24 is not in the bridge's subnet 10.9.0.0/16",
  );
  expect(() => design({ bip: "10.9.0.1/24", fixedCidr: "10.9.0.0/16" })).toThrow("--fixed-cidr");
});

test("a gateway of its own is taken out of the pool, and has to be in it", () => {
  const { predefined } = design({ bip: "10.9.0.1/16", defaultGateway: "10.9.0.254" });
  expect(predefined.gateways).toEqual({ ipv4: "10.9.0.254", ipv6: null });
  expect(predefined.pools[0]?.auxiliary).toEqual({ DefaultGatewayIPv4: "10.9.0.254" });
  expect(() => design({ defaultGateway: "10.9.0.254" })).toThrow(
    "auxiliary address: (DefaultGatewayIPv4:10.9.0.254) must belong to the master pool: 172.20.0.0/16",
  );
});

test("addresses that cannot be a bridge's are refused", () => {
  for (const bip of ["10.0.0.0/24", "10.0.0.255/24", "10.0.0.1/31"]) {
    expect(() => design({ bip })).toThrow(`invalid bridge address: ${bip}`);
  }
  expect(() => design({ ipv6: true, bip6: "fd00::/64" })).toThrow("invalid bridge address");
  expect(() => design({ ipv6: true, fixedCidr6: "fd00::1/128" })).toThrow("invalid bridge address");
});
