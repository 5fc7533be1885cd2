import { expect, test } from "bun:test";

import { digestOf } from "#oci";

import { type BuildFacts, provenanceOf, provenanceOptions } from "./provenance.ts";

const digest = digestOf(new TextEncoder().encode("manifest"));
const platform = { os: "linux", architecture: "arm64" };
const facts: BuildFacts = {
  ref: "ref1",
  attributes: {
    filename: "Dockerfile.prod",
    "build-arg:A": "secret",
    "label:l": "x",
    "vcs:revision": "abc",
    "attest:provenance": "mode=max",
    platform: "linux/arm64",
    "context:extra": "local:extra",
    target: "app",
  },
  platform,
  materials: [{ reference: "docker.io/library/busybox:latest", platform, digest }],
  dockerfile: { filename: "Dockerfile.prod", text: "FROM busybox\n" },
  layers: [digest],
  startedAt: new Date(0),
  finishedAt: new Date(1000),
};

const said = (text: string, names: readonly string[] = ["docker.io/me/app:1"]) => {
  const options = provenanceOptions(text);
  if (options === null) throw new Error("no provenance");
  const { bytes, predicateType } = provenanceOf(facts, options, { names, digest });
  return { predicateType, ...(JSON.parse(new TextDecoder().decode(bytes)) as object) };
};
const hex = digest.slice("sha256:".length);

test("a statement names its subject, what was built on, and leaves out what may be private", () => {
  expect(said("mode=min,inline-only=true")).toMatchObject({
    _type: "https://in-toto.io/Statement/v0.1",
    predicateType: "https://slsa.dev/provenance/v0.2",
    subject: [{ name: "pkg:docker/me/app@1?platform=linux%2Farm64", digest: { sha256: hex } }],
    predicate: {
      buildType: "https://mobyproject.org/buildkit@v1",
      materials: [
        { uri: "pkg:docker/busybox@latest?platform=linux%2Farm64", digest: { sha256: hex } },
      ],
      invocation: {
        configSource: { entryPoint: "Dockerfile.prod" },
        parameters: {
          args: { target: "app", "context:extra": "local:extra" },
          locals: [{ name: "context" }, { name: "dockerfile" }, { name: "extra" }],
        },
      },
      metadata: {
        buildInvocationID: "ref1",
        buildStartedOn: "1970-01-01T00:00:00.000Z",
        completeness: { parameters: false, environment: true, materials: false },
        "https://mobyproject.org/buildkit@v1#metadata": { vcs: { revision: "abc" } },
      },
    },
  });
  expect(JSON.stringify(said("mode=min"))).not.toContain("secret");
});

test("mode=max tells arguments, the Dockerfile and the layers; version=v1 has its own form", () => {
  expect(said("mode=max,version=v1,builder-id=https://b", [])).toMatchObject({
    predicateType: "https://slsa.dev/provenance/v1",
    subject: [{ name: "_" }],
    predicate: {
      buildDefinition: {
        externalParameters: { request: { args: { "build-arg:A": "secret", "label:l": "x" } } },
        resolvedDependencies: [{ digest: { sha256: hex } }],
      },
      runDetails: {
        builder: { id: "https://b" },
        metadata: {
          buildkit_metadata: {
            source: { infos: [{ data: Buffer.from("FROM busybox\n").toString("base64") }] },
          },
          buildkit_completeness: { request: true },
        },
      },
    },
  });
});

test("options that are not known are refused, and some mean none", () => {
  for (const text of ["mode=most", "version=v9", "what=1"]) {
    expect(() => provenanceOptions(text)).toThrow();
  }
  for (const text of [undefined, "disabled=true", "mode=disabled"]) {
    expect(provenanceOptions(text)).toBe(null);
  }
});
