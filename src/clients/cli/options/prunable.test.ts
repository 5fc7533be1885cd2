import { describe, expect, test } from "bun:test";

import type { SystemDiskUsage } from "#wire/docker";

import {
  prunableCache,
  prunableContainers,
  prunableImages,
  prunableNetworks,
  prunableVolumes,
} from "./prunable.ts";

const nowMs = Date.parse("2026-11-23T12:00:00Z");
const HOUR = 3600;
const container = (id: string, more: object) => ({
  Id: id,
  State: "exited",
  Created: nowMs / 1000 - HOUR,
  Labels: {},
  ImageID: "",
  Mounts: [],
  SizeRw: 10,
  ...more,
});
const image = (id: string, more: object) => ({
  Id: id,
  ParentId: "",
  RepoTags: [],
  Created: 0,
  Size: 100,
  SharedSize: 30,
  Labels: {},
  ...more,
});
const volume = (name: string, more: object) => ({
  Name: name,
  CreatedAt: "2026-11-23T11:00:00Z",
  Labels: { "com.docker.volume.anonymous": "" },
  Options: null,
  UsageData: { RefCount: 0, Size: 7 },
  ...more,
});

const used = {
  Containers: [
    container("runs", { State: "running", ImageID: "sha256:used", Mounts: [{ Name: "held" }] }),
    container("ended", { ImageID: "sha256:freed", Mounts: [{ Name: "loose" }] }),
    container("kept", { Labels: { keep: "1" }, Created: nowMs / 1000 - 60 }),
  ],
  Images: [
    image("sha256:used", { RepoTags: ["app:1"] }),
    image("sha256:freed", { RepoTags: ["old:1", "old:2"] }),
    image("sha256:dangling", { RepoTags: ["<none>:<none>"] }),
    image("sha256:parent", {}),
    image("sha256:child", { ParentId: "sha256:parent", RepoTags: ["child:1"] }),
  ],
  Volumes: [
    volume("held", {}),
    volume("loose", {}),
    volume("named", { Labels: null }),
    volume("disk", { Options: { device: "/dev/sdb" } }),
  ],
  BuildCache: [
    { ID: "busy", InUse: true, Shared: false, Size: 1, LastUsedAt: null },
    { ID: "shared", InUse: false, Shared: true, Size: 5, LastUsedAt: "2026-11-23T11:00:00Z" },
    { ID: "own", InUse: false, Shared: false, Size: 6, LastUsedAt: "2026-11-23T11:59:00Z" },
  ],
} as unknown as SystemDiskUsage;

const wish = (filters: Record<string, string[]> = {}, all = false) => ({ filters, all, nowMs });
const names = (found: { readonly names: readonly string[] }) => found.names;

describe("a dry run of a prune", () => {
  test("takes containers that ended, within its filters", () => {
    expect(prunableContainers(used, wish())).toMatchObject({
      names: ["ended", "kept"],
      sizeBytes: 20,
    });
    expect(names(prunableContainers(used, wish({ "label!": ["keep"] })))).toEqual(["ended"]);
    expect(names(prunableContainers(used, wish({ "label!": ["keep", "other"] })))).toHaveLength(2);
    expect(names(prunableContainers(used, wish({ label: ["keep=1"] })))).toEqual(["kept"]);
    expect(names(prunableContainers(used, wish({ until: ["30m"] })))).toEqual(["ended"]);
    expect(() => prunableContainers(used, wish({ nope: ["1"] }))).toThrow("invalid filter 'nope'");
    expect(() => prunableContainers(used, wish({ until: ["1h", "2h"] }))).toThrow("more than one");
  });

  test("takes what only those containers used, and of images their own bytes", () => {
    const kept = (used.Containers ?? []).filter(({ Id }) => Id === "runs");
    expect(prunableVolumes(used, kept, wish())).toEqual({ names: ["loose"], sizeBytes: 7 });
    expect(names(prunableVolumes(used, kept, wish({}, true)))).toEqual(["loose", "named"]);
    expect(prunableImages(used, kept, wish())).toEqual({
      names: ["sha256:dangling"],
      sizeBytes: 70,
      isLeast: true,
    });
    expect(names(prunableImages(used, kept, wish({}, true)))).toEqual([
      "old:1",
      "old:2",
      "sha256:dangling",
      "child:1",
    ]);
    expect(names(prunableImages(used, used.Containers ?? [], wish({}, true)))).not.toContain(
      "old:1",
    );
  });

  test("takes build cache that nobody uses, shared with images only if all is meant", () => {
    expect(prunableCache(used, wish())).toEqual({ names: ["own"], sizeBytes: 6 });
    expect(prunableCache(used, wish({}, true))).toEqual({ names: ["shared", "own"], sizeBytes: 6 });
    expect(names(prunableCache(used, wish({ until: ["30m"] }, true)))).toEqual(["shared"]);
  });

  test("takes networks by label and age", () => {
    const networks = [
      { Name: "old", Created: "2026-11-20T00:00:00Z", Labels: {} },
      { Name: "new", Created: "2026-11-23T11:59:59Z", Labels: { a: "b" } },
    ] as unknown as Parameters<typeof prunableNetworks>[0];
    expect(names(prunableNetworks(networks, wish({ until: ["1h"] })))).toEqual(["old"]);
    expect(names(prunableNetworks(networks, wish({ label: ["a=b"] })))).toEqual(["new"]);
  });
});
