import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";

import { MNT_DETACH, mount, unmount } from "#linux/mount";

import { openLayerStore } from "./index.ts";
import { streamOf, tarOf } from "./layer-fixtures.ts";
import { describeLayerStore } from "./layer-store.suite.ts";

describeLayerStore("file");
describeLayerStore("directory");

describe("a full disk", () => {
  const home = "/tmp/naru-test-layer-full";
  afterEach(() => {
    unmount(home, MNT_DETACH);
    rmSync(home, { recursive: true, force: true });
  });

  test("keeps the store neither from opening nor from removing", async () => {
    mkdirSync(home, { recursive: true });
    mount({ type: "tmpfs", source: "naru", target: home, data: "size=4m" });
    const open = () => openLayerStore({ root: `${home}/layers`, mountRoot: `${home}/run` });
    const before = open();
    const { diffId } = await before.write({
      source: streamOf(await tarOf([[{ name: "a" }, "b"]])),
    });
    await before.close();
    const fill = openSync(`${home}/fill`, "w");
    expect(() => {
      for (;;) writeSync(fill, new Uint8Array(4096));
    }).toThrow("ENOSPC");
    closeSync(fill);

    const store = open();
    expect(store.form).toBe(before.form);
    expect(store.has(diffId)).toBe(true);
    expect(readdirSync(`${home}/layers/ingest`)).toEqual([]);
    store.remove(diffId);
    expect(store.has(diffId)).toBe(false);
    await store.close();
  });
});
