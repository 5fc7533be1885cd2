import { expect, test } from "bun:test";

import { addressBytes, formatIpv4, formatSubnet, parseCidr, parseIpv4, type Subnet } from "./ip.ts";
import { contains6, formatIpv6, formatSubnet6, overlaps6, parseCidr6 } from "./ipv6.ts";
import { chooseSubnet, chooseSubnet6, parseDefaultPool } from "./pools.ts";

test("an IPv4 address is four decimal parts, and nothing else", () => {
  expect(formatIpv4(parseIpv4("172.18.0.255") ?? 0)).toBe("172.18.0.255");
  expect(formatIpv4(parseIpv4("255.255.255.255") ?? 0)).toBe("255.255.255.255");
  for (const text of ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "0x1.2.3.4", "1.2.3.4 "]) {
    expect(parseIpv4(text)).toBeNull();
  }
});

test("an IPv6 address is read in every form of its text", () => {
  const hex = (text: string) => addressBytes(text)?.toHex();
  expect(hex("::")).toBe("0".repeat(32));
  expect(hex("::1")).toBe(`${"0".repeat(31)}1`);
  expect(hex("2001:DB8::a:0:0")).toBe("20010db8000000000000000a00000000");
  expect(hex("::ffff:192.0.2.1")).toBe("00000000000000000000ffffc0000201");
  expect(hex("1:2:3:4:5:6:7:8")).toBe("00010002000300040005000600070008");
  for (const text of ["localhost", "::g", "1:2:3", ":::", "fe80::1%eth0", "[::1]", "1.2.3.4:80"]) {
    expect(addressBytes(text)).toBeNull();
  }
});

test("a CIDR gives the address and the subnet around it", () => {
  const { address, subnet } = parseCidr("10.200.1.129/25");
  expect(formatIpv4(address)).toBe("10.200.1.129");
  expect(formatSubnet(subnet)).toBe("10.200.1.128/25");
  for (const text of ["", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/", "10.0.0/8", "10.0.0.1/8/8"]) {
    expect(() => parseCidr(text)).toThrow(`invalid CIDR address: ${text}`);
  }
});

test("the pools are Docker's, in its order, and the first without overlap is chosen", () => {
  const taken: Subnet[] = [];
  for (let turn = 0; turn < 31; turn += 1) taken.push(chooseSubnet(taken));
  const pools = taken.map(formatSubnet);
  expect([pools[0], pools[14], pools[15], pools[30]]).toEqual([
    "172.17.0.0/16",
    "172.31.0.0/16",
    "192.168.0.0/20",
    "192.168.240.0/20",
  ]);
  expect(() => chooseSubnet(taken)).toThrow("all predefined address pools have been fully");
  const used = ["172.16.0.0/12", "192.168.1.0/24"].map((text) => parseCidr(text).subnet);
  expect(formatSubnet(chooseSubnet(used))).toBe("192.168.16.0/20");
  expect(() => chooseSubnet([parseCidr("128.0.0.0/1").subnet])).toThrow("fully subnetted");
});

test("a default address pool is cut into subnets of its size", () => {
  const pools = [parseDefaultPool("base=10.9.0.0/16,size=24")];
  const used = [parseCidr("10.9.0.0/23").subnet];
  expect(formatSubnet(chooseSubnet(used, pools))).toBe("10.9.2.0/24");
  expect(formatSubnet6(chooseSubnet6([], [parseDefaultPool("base=fd01::/48,size=64")]))).toBe(
    "fd01::/64",
  );
  for (const text of [
    "base=10.9.0.1/16,size=24",
    "base=10.9.0.0/16,size=8",
    "base=x,size=24",
    "",
  ]) {
    expect(() => parseDefaultPool(text)).toThrow("invalid");
  }
});

test("IPv6 subnets are numbers too, and are written compressed", () => {
  const { address, subnet } = parseCidr6("FD00:1::00ff/64");
  expect(formatIpv6(address)).toBe("fd00:1::ff");
  expect(formatSubnet6(subnet)).toBe("fd00:1::/64");
  expect(contains6(subnet, address)).toBe(true);
  expect(overlaps6(subnet, parseCidr6("fd00::/16").subnet)).toBe(true);
  expect(overlaps6(subnet, parseCidr6("fd00:2::/64").subnet)).toBe(false);
  for (const text of ["", "::/129", "10.0.0.0/8", "fd00::", "fd00::/64/1"]) {
    expect(() => parseCidr6(text)).toThrow("invalid CIDR address");
  }
});
