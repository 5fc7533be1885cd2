import { expect, test } from "bun:test";

import { decodeAttributes } from "./attributes.ts";

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
    { "attest:provenance": "mode=max" },
    { platform: "linux/amd64,linux/arm64" },
    { "multi-platform": "true" },
    { "image-resolve-mode": "never" },
    { "force-network-mode": "bridge" },
    { "add-hosts": "nothing" },
    { "shm-size": "much" },
    { ulimit: "nofile" },
    { "cache-imports": "{" },
    { "cache-imports": '[{"Type":"gha"}]' },
  ]) {
    expect(() => decodeAttributes(attributes)).toThrow();
  }
});
