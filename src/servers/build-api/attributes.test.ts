import { expect, test } from "bun:test";

import { type AskedCache, decodeAttributes as decode, platformsIn } from "./attributes.ts";

const cacheOf = ({ attributes }: AskedCache) =>
  ({ kind: "registry", reference: attributes["ref"] ?? "" }) as const;
const decodeAttributes = (attributes: Record<string, string>) =>
  decode(attributes, platformsIn(attributes).all[0] ?? null, cacheOf);

test("attributes are a build's options", () => {
  const options = decodeAttributes({
    filename: "Dockerfile.prod",
    target: "app",
    "build-arg:WHO": "me",
    "build-arg:EMPTY": "",
    "label:a": "b=c",
    "context:base": "docker-image://busybox",
    "context:other": "local:other",
    "local-sessionid:other": "x",
    "no-cache": "one,two",
    "add-hosts": "a=10.0.0.1,v6=fe80::1",
    "force-network-mode": "none",
    "shm-size": "1048576",
    ulimit: "nofile=10:20,nproc=5",
    "image-resolve-mode": "pull",
    platform: "linux/amd64",
    "cache-imports": '[{"Type":"registry","Attrs":{"ref":"r/cache"}}]',
    hostname: "h",
  });
  expect(options).toMatchObject({
    remote: "",
    isDockerfileLocal: true,
    folders: { dockerfile: "dockerfile", context: "context" },
    dockerfile: "Dockerfile.prod",
    target: "app",
    buildArgs: { WHO: "me", EMPTY: "", BUILDKIT_SANDBOX_HOSTNAME: "h" },
    labels: { a: "b=c" },
    noCache: false,
    noCacheStages: ["one", "two"],
    network: { mode: "none" },
    pull: true,
    platform: { os: "linux", architecture: "amd64" },
    cacheFrom: [{ kind: "registry", reference: "r/cache" }],
    host: {
      extraHosts: ["a:10.0.0.1", "v6:fe80::1"],
      shmSizeBytes: 1048576,
      ulimits: [
        { name: "nofile", soft: 10, hard: 20 },
        { name: "nproc", soft: 5, hard: 5 },
      ],
    },
  });
  expect([...options.contexts]).toEqual([
    ["base", "docker-image://busybox"],
    ["other", "local:other"],
  ]);
});

test("everything is built again, or a Dockerfile of the client's goes with a context of elsewhere", () => {
  expect(decodeAttributes({ "no-cache": "" })).toMatchObject({ noCache: true, noCacheStages: [] });
  const remote = { context: "https://host/repo.git" };
  expect(decodeAttributes(remote)).toMatchObject({ isDockerfileLocal: false });
  expect(decodeAttributes({ ...remote, dockerfilekey: "dockerfile" })).toMatchObject({
    remote: "https://host/repo.git",
    isDockerfileLocal: true,
  });
});

test("what is not done is refused", () => {
  for (const attributes of [
    { unknown: "x" },
    { platform: "linux/amd64/v8/x" },
    { "image-resolve-mode": "never" },
    { "force-network-mode": "bridge" },
    { "add-hosts": "nothing" },
    { "shm-size": "much" },
    { ulimit: "nofile" },
    { "cache-imports": "{" },
  ]) {
    expect(() => decodeAttributes(attributes)).toThrow();
  }
});

test("several platforms are builds of their own, each with the contexts meant for it", () => {
  const attributes = {
    platform: "linux/amd64, linux/arm64/v8,linux/amd64",
    "context:base::linux/arm64": "input:arm",
    "context:base": "input:any",
  };
  const { all, isMany } = platformsIn(attributes);
  expect([all.map(({ architecture }) => architecture), isMany]).toEqual([["amd64", "arm64"], true]);
  const baseOf = (index: number) =>
    decode(attributes, all[index] ?? null, cacheOf).contexts.get("base");
  expect([baseOf(0), baseOf(1)]).toEqual(["input:any", "input:arm"]);
  expect(platformsIn({ "multi-platform": "1", platform: "linux/amd64" }).isMany).toBe(true);
  expect(platformsIn({})).toEqual({ all: [], isMany: false });
  const asked = "build-arg:BUILDKIT_MULTI_PLATFORM";
  expect(platformsIn({ [asked]: "true" }).isMany).toBe(true);
  expect(platformsIn({ [asked]: "0", "multi-platform": "true" }).isMany).toBe(false);
  expect(() => platformsIn({ ...attributes, [asked]: "0" })).toThrow("conflicting config");
  expect(() => platformsIn({ [asked]: "yes" })).toThrow(
    "invalid boolean value for multi-platform: yes",
  );
});
