import { expect, test } from "bun:test";

import { type Entitlement, grantedTo, requireGranted } from "./entitlements.ts";

const bridge = { mode: "network", name: "bridge" } as const;
const all: ReadonlySet<Entitlement> = new Set(["network.host", "security.insecure"]);

test("a build has what it asks for and the operator allows", () => {
  expect(grantedTo({ network: bridge }, all).size).toBe(0);
  const asked = { network: bridge, entitlements: ["security.insecure"] };
  expect([...grantedTo(asked, all)]).toEqual(["security.insecure"]);
  expect(() => grantedTo(asked, new Set(["network.host"]))).toThrow(
    "granting entitlement security.insecure is not allowed by build daemon configuration",
  );
  expect(() => grantedTo({ network: bridge, entitlements: ["device"] }, all)).toThrow(
    "unknown entitlement device",
  );
});

test("a build in the host's network may have it in its steps too", () => {
  expect([...grantedTo({ network: { mode: "host" } }, all)]).toEqual(["network.host"]);
  expect(() => grantedTo({ network: { mode: "host" } }, new Set())).toThrow("network.host");
  expect(() => requireGranted(new Set(), "network.host")).toThrow("network.host is not allowed");
});
