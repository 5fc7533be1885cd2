import { expect, test } from "bun:test";

import { digestOf, MEDIA_TYPE } from "#oci";
import { grpcFailure } from "#wire/grpc";

import { Attachments } from "./attachments.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test("what is said of several platforms is kept by platform, the image once for all", () => {
  const attachments = new Attachments();
  const index = bytes("{}");
  const digest = digestOf(index);
  const target = { mediaType: MEDIA_TYPE.ociIndex, digest, size: index.length };
  attachments.made(target, new Map([[digest, index]]));
  attachments.said("linux/amd64", "https://spdx.dev/Document", { a: 1 });
  attachments.said("linux/arm64", "https://spdx.dev/Document", { a: 2 });
  attachments.failed(grpcFailure(2, "bad"));
  const { result, results, externalError, trace } = attachments.fields;
  expect(result?.results).toMatchObject({ 0: { digest, mediaType: MEDIA_TYPE.ociIndex } });
  expect(Object.keys(results)).toEqual(["linux/amd64", "linux/arm64"]);
  const said = results["linux/arm64"]?.attestations[0];
  expect(said?.annotations).toEqual({ "in-toto.io/predicate-type": "https://spdx.dev/Document" });
  expect(new TextDecoder().decode(attachments.blobs.get(digestOf(bytes('{"a":2}'))))).toBe(
    '{"a":2}',
  );
  expect(externalError?.mediaType).toContain("google.rpc.status");
  expect(trace).toBeUndefined();
});

test("a build with too much to be kept keeps what comes first, and names nothing else", () => {
  const attachments = new Attachments();
  attachments.said("", "large", "x".repeat(3 << 20));
  attachments.said("", "too large", "y".repeat(2 << 20));
  attachments.said("", "small", "z");
  const types = attachments.fields.result?.attestations.map(
    ({ annotations }) => annotations["in-toto.io/predicate-type"],
  );
  expect(types).toEqual(["large", "small"]);
  expect(attachments.blobs.size).toBe(2);
});

test("an image whose document is not at hand is not named", () => {
  const attachments = new Attachments();
  const target = { mediaType: MEDIA_TYPE.ociIndex, digest: digestOf("x"), size: 1 };
  attachments.made(target, new Map());
  expect(attachments.fields).toEqual({ results: {} });
});
