import { expect, test } from "bun:test";

import type { ContainerDns } from "./container-dns.ts";
import { DnsNames } from "./names.ts";
import { type Query, TYPE } from "./packet.ts";

const dns = (name: string, address: string, more: string[] = []): ContainerDns => ({
  networks: [{ id: "n", name: "shop", names: [name, ...more], addresses: [address], links: {} }],
  servers: [],
});

const query = (name: string, type: number): Query => ({
  id: 1,
  flags: 0,
  name,
  type,
  isInternet: true,
  question: new Uint8Array(0),
  udpBytes: 512,
  edns: null,
});

test("an address that has passed on keeps its new owner's name when the old one is forgotten", () => {
  const names = new DnsNames();
  names.set("asker", dns("asker", "10.0.0.9"));
  names.set("old", dns("old", "10.0.0.2"));
  names.set("new", dns("new", "10.0.0.2"));
  names.delete("old");
  const reverse = (address: string) => names.answer("asker", query(address, TYPE.ptr));
  const found = reverse("2.0.0.10.in-addr.arpa") ?? [];
  expect(String.fromCharCode(...(found[0]?.data ?? []))).toContain("new");
  names.delete("new");
  expect(reverse("2.0.0.10.in-addr.arpa")).toBeNull();
});

test("an address is called by the first name that DNS can say", () => {
  const names = new DnsNames();
  names.set("asker", dns("asker", "10.0.0.9"));
  const told = (...all: [string, ...string[]]) => {
    const [first, ...more] = all;
    names.set("web", dns(first, "10.0.0.2", more));
    const answers = names.answer("asker", query("2.0.0.10.in-addr.arpa", TYPE.ptr));
    return answers === null ? null : String.fromCharCode(...(answers[0]?.data ?? []));
  };
  expect(told("n".repeat(63), "short")).toContain("n".repeat(63));
  expect(told("n".repeat(64), "short")).toContain("short");
  expect(told("n.".repeat(4000), "short")).toContain("short");
  expect(told("n".repeat(64))).toBeNull();
});

test("who shares an alias shares its clients, and of many a bounded number is told", () => {
  const names = new DnsNames();
  for (let index = 0; index < 200; index += 1) {
    names.set(`c${index}`, dns(`c${index}`, `10.0.1.${index}`, ["many"]));
  }
  const firsts = new Set<number>();
  for (let turn = 0; turn < 500; turn += 1) {
    const answers = names.answer("c0", query("many", TYPE.a)) ?? [];
    expect(answers).toHaveLength(24);
    firsts.add(answers[0]?.data[3] ?? -1);
  }
  expect(firsts.size).toBeGreaterThan(100);
});
