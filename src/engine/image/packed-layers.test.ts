import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { openContentStore } from "#engine/content";
import { digestOf } from "#oci";

import { PackedLayers } from "./packed-layers.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function open() {
  const root = mkdtempSync("/tmp/naru-test-packed-");
  folders.push(root);
  const content = openContentStore(root);
  return {
    content,
    packed: new PackedLayers(content),
    arriving: () => readdirSync(join(root, "ingest")),
  };
}

const bytesOf = (text: string) => new TextEncoder().encode(text);
const streamOf = (text: string) => new Blob([text]).stream();
const packing = (name: string) => ({
  diffId: digestOf(bytesOf(name)),
  compression: { type: "gzip", level: null } as const,
});
const arrived = (text: string) => ({ digest: digestOf(bytesOf(text)), sizeBytes: text.length });

test("what was packed is there for the next registry, byte for byte", async () => {
  const { packed, arriving } = open();
  {
    using copy = packed.copy(packing("a"));
    // A first attempt that broke off leaves nothing in the second.
    await copy.of(streamOf("brok")).cancel();
    expect(await new Response(copy.of(streamOf("packed"))).text()).toBe("packed");
    copy.keep(arrived("packed"));
  }
  const kept = packed.get(packing("a"));
  expect(kept).toMatchObject(arrived("packed"));
  for (const _ of ["once", "twice"]) {
    expect(await new Response(kept?.open()).text()).toBe("packed");
  }
  const other = { ...packing("a"), compression: { type: "zstd", level: null } as const };
  expect(packed.get(other)).toBeNull();
  packed.drop(packing("a"));
  expect(packed.get(packing("a"))).toBeNull();
  expect(arriving()).toEqual([]);
});

test("what did not arrive whole is not kept, and leaves nothing", async () => {
  const { packed, arriving } = open();
  {
    using copy = packed.copy(packing("a"));
    await copy.of(streamOf("half")).getReader().read();
  }
  {
    using copy = packed.copy(packing("a"));
    await new Response(copy.of(streamOf("half"))).text();
    copy.keep(arrived("the whole"));
  }
  expect(packed.get(packing("a"))).toBeNull();
  expect(arriving()).toEqual([]);
});

test("a disk that takes no copy does not keep a layer from its way", async () => {
  const packed = new PackedLayers({
    ingest: () => {
      throw new Error("no space left on device");
    },
  });
  using copy = packed.copy(packing("a"));
  expect(await new Response(copy.of(streamOf("packed"))).text()).toBe("packed");
  copy.keep(arrived("packed"));
  expect(packed.get(packing("a"))).toBeNull();
});

test("there are never more of them than a limit, those used last stay", async () => {
  const { packed, arriving } = open();
  for (let index = 0; index < 70; index += 1) {
    using copy = packed.copy(packing(`${index}`));
    await new Response(copy.of(streamOf("x"))).text();
    copy.keep(arrived("x"));
    packed.get(packing("0"));
  }
  expect(arriving().length).toBe(64);
  expect(packed.get(packing("0"))).not.toBeNull();
  expect(packed.get(packing("1"))).toBeNull();
  expect(packed.get(packing("69"))).not.toBeNull();
});
