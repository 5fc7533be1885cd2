import { expect, test } from "bun:test";
import { closeSync } from "node:fs";

import { inNetworkNamespace, namespaceId, openNamespace, processNamespaceId } from "./index.ts";

/** A process that sleeps in a network namespace of its own. */
async function foreigner() {
  const child = Bun.spawn(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], {
    stdout: "pipe",
  });
  await child.stdout.getReader().read();
  const descriptor = openNamespace(child.pid, "net");
  return {
    pid: child.pid,
    descriptor,
    [Symbol.asyncDispose]: async () => {
      closeSync(descriptor);
      child.kill(9);
      await child.exited;
    },
  };
}

test("a function runs inside the namespace, and the thread is home again afterwards", async () => {
  await using other = await foreigner();
  const home = processNamespaceId("self", "net");
  const inside = inNetworkNamespace(other.descriptor, () => processNamespaceId("self", "net"));
  expect(inside).toBe(namespaceId(other.descriptor));
  expect(inside).toBe(processNamespaceId(other.pid, "net"));
  expect(inside).not.toBe(home);
  expect(processNamespaceId("self", "net")).toBe(home);
});

test("a function that throws leaves the thread at home too", async () => {
  await using other = await foreigner();
  const home = processNamespaceId("self", "net");
  const broken = () =>
    inNetworkNamespace(other.descriptor, () => {
      throw new Error("wreck");
    });
  expect(broken).toThrow("wreck");
  expect(processNamespaceId("self", "net")).toBe(home);
});

test("what is no network namespace is refused before the function runs", () => {
  let ran = false;
  const mounts = openNamespace("self", "mnt");
  expect(() =>
    inNetworkNamespace(mounts, () => {
      ran = true;
      return 0;
    }),
  ).toThrow("setns network namespace");
  expect(ran).toBe(false);
  closeSync(mounts);
});
