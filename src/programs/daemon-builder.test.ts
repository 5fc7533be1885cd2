import { expect, test } from "bun:test";

import type { BuildCacheItem } from "#engine/build";

import { builderOf, cachePoliciesNow, entitlementsOf, historyLimitsOf } from "./daemon-builder.ts";

const GB = 2 ** 30;

const itemOf = (kind: BuildCacheItem["kind"]): BuildCacheItem => ({
  id: "id",
  parent: null,
  kind,
  description: "",
  isInUse: false,
  isShared: false,
  sizeBytes: 1,
  createdAt: new Date(0),
  lastUsedAt: new Date(0),
  uses: 1,
});

test("without a word the cache is kept as Docker keeps it, by the size of the disk", () => {
  expect(builderOf(undefined)).toBeNull();
  expect(builderOf({ gc: { enabled: true } })).toBeNull();
  const policies = cachePoliciesNow(null, "/tmp");
  expect(policies.map(({ all }) => all)).toEqual([false, false, false, true]);
  const kinds = (["exec.cachemount", "regular"] as const).map(itemOf);
  expect(kinds.map((item) => policies[0]?.matches?.(item))).toEqual([true, false]);
  for (const { limits } of policies.slice(1)) expect(limits.reservedBytes).toBeGreaterThan(0);
});

test("collecting can be off, and bounded by sizes in either spelling", () => {
  expect(builderOf({ gc: { enabled: false, defaultKeepStorage: "20GB" } })).toEqual([]);
  for (const key of ["defaultKeepStorage", "DefaultReservedSpace"]) {
    expect(builderOf({ GC: { [key]: "20GB" } })?.[3]?.limits).toEqual({
      reservedBytes: 20 * GB,
      maxUsedBytes: 0,
      minFreeBytes: 0,
    });
  }
});

test("policies have limits and filters, as a list or in the older form", () => {
  const policy = [
    { keepStorage: "1GB", filter: ["unused-for=2200h"] },
    { maxUsedSpace: "2GB", all: true, filter: { type: { regular: true } } },
  ];
  const read = builderOf({ gc: { policy } });
  const [first, second] = cachePoliciesNow(read, "/tmp");
  expect(first).toMatchObject({ all: false, limits: { reservedBytes: GB } });
  expect(Math.round((Date.now() - Number(first?.until)) / 3_600_000)).toBe(2200);
  expect(second).toMatchObject({
    all: true,
    limits: { maxUsedBytes: 2 * GB },
  });
  expect(second?.matches?.(itemOf("regular"))).toBe(true);
});

test("what would be ignored is refused by name", () => {
  const refused = (value: unknown) => expect(() => builderOf(value));
  refused([]).toThrow("builder is no object");
  refused({ gcc: {} }).toThrow("builder.gcc is not supported");
  refused({ gc: { enabled: "yes" } }).toThrow("builder.gc.enabled is neither true nor false");
  refused({ gc: { defaultKeepStorage: "much" } }).toThrow("failed to parse defaultkeepstorage");
  refused({ gc: { policy: {} } }).toThrow("builder.gc.policy is no list");
  refused({ gc: { policy: [{ filter: ["colour=red"] }] } }).toThrow("colour");
  refused({ gc: { policy: [{ filter: [1] }] } }).toThrow("its entries are texts");
  refused({ gc: { policy: [{ age: "1h" }] } }).toThrow("builder.gc.age is not supported");
  refused({ histories: {} }).toThrow("builder.histories is not supported");
  expect(builderOf({ entitlements: { "network-host": true } })).toBeNull();
});

test("what past builds are kept is said by number and age", () => {
  const asked = (history: unknown) => historyLimitsOf({ history });
  expect(historyLimitsOf(undefined)).toBeUndefined();
  expect(historyLimitsOf({})).toBeUndefined();
  expect(asked({ maxEntries: 3 })).toEqual({ maxEntries: 3, maxAgeMs: 0 });
  expect(asked({ MaxAge: "48h", maxentries: 9 })).toEqual({ maxEntries: 9, maxAgeMs: 172_800_000 });
  expect(asked({ maxAge: "60" })).toEqual({ maxEntries: 0, maxAgeMs: 60_000 });
  expect(() => asked({ maxAge: "long" })).toThrow("invalid duration long");
  expect(() => asked({ maxAge: 3 })).toThrow("is no text");
  expect(() => asked({ maxEntries: "3" })).toThrow("is no number of builds");
  expect(() => asked({ keep: 3 })).toThrow("builder.history.keep is not supported");
});

test("entitlements are the host's network and devices unless the operator says more or less", () => {
  const allowed = (entitlements: unknown) => [...entitlementsOf({ entitlements })];
  expect([...entitlementsOf(undefined)]).toEqual(["network.host", "device"]);
  expect(allowed({ "security-insecure": true })).toEqual([
    "network.host",
    "device",
    "security.insecure",
  ]);
  expect(allowed({ "network-host": false, device: true })).toEqual(["device"]);
  expect(allowed({ device: false })).toEqual(["network.host"]);
  expect(() => allowed({ "network-host": "yes" })).toThrow("neither true nor false");
  expect(() => allowed({ root: true })).toThrow("builder.entitlements.root");
});
