import { expect, test } from "bun:test";

import { type Entitlement, grantedTo, requireGranted } from "./entitlements.ts";

const bridge = { mode: "network", name: "bridge" } as const;
const all: ReadonlySet<Entitlement> = new Set(["network.host", "security.insecure", "device"]);

test("a build has what it asks for and the operator allows", () => {
  expect(grantedTo({ network: bridge }, all).entitlements.size).toBe(0);
  const asked = { network: bridge, entitlements: ["security.insecure"] };
  expect([...grantedTo(asked, all).entitlements]).toEqual(["security.insecure"]);
  expect(() => grantedTo(asked, new Set(["network.host"]))).toThrow(
    "granting entitlement security.insecure is not allowed by build daemon configuration",
  );
  const devices = { network: bridge, entitlements: ["device=a.b/c=d"] };
  expect(grantedTo(devices, all)).toEqual({ entitlements: new Set(), devices: ["a.b/c=d"] });
  expect(() => grantedTo(devices, new Set())).toThrow("granting entitlement device is not allowed");
  expect(() => grantedTo({ network: bridge, entitlements: ["all"] }, all)).toThrow(
    "unknown entitlement all",
  );
});

test("a build in the host's network may have it in its steps too", () => {
  expect([...grantedTo({ network: { mode: "host" } }, all).entitlements]).toEqual(["network.host"]);
  expect(() => grantedTo({ network: { mode: "host" } }, new Set())).toThrow("network.host");
  expect(() => requireGranted({ entitlements: new Set(), devices: [] }, "network.host")).toThrow(
    "network.host is not allowed",
  );
});
