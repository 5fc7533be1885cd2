import { expect, test } from "bun:test";

import { type Digest, digestOf, type Index, type Manifest, MEDIA_TYPE } from "#oci";

import { type BuiltImage, documentImage, type ImageAnnotation } from "./image-documents.ts";

const layer = digestOf(new TextEncoder().encode("layer"));
const image = (architecture: string, isAttested = false): BuiltImage => ({
  config: { os: "linux", architecture, rootfs: { type: "layers", diff_ids: [layer] } },
  platform: { os: "linux", architecture },
  statements: (manifest) => {
    const bytes = new TextEncoder().encode(`about ${manifest}`);
    return isAttested ? [{ fileName: "p.json", predicateType: "p", isOfImage: true, bytes }] : [];
  },
});
const layers = [{ mediaType: MEDIA_TYPE.ociLayer, digest: layer, size: 5 }];
const documented = (images: BuiltImage[], annotations: ImageAnnotation[] = [], isIndex = false) =>
  documentImage(images, () => layers, { annotations, isIndex, isOci: true });
type Documented = ReturnType<typeof documented>;
const read = ({ documents }: Documented, digest: Digest) =>
  JSON.parse(new TextDecoder().decode(documents.get(digest))) as Index & Manifest;

test("one image with nothing to say about it is its manifest", () => {
  const made = documented([image("amd64")]);
  expect(made.target.mediaType).toBe(MEDIA_TYPE.ociManifest);
  expect(read(made, made.target.digest)).toMatchObject({ layers });
  expect(documented([image("amd64")], [], true).target.mediaType).toBe(MEDIA_TYPE.ociIndex);
});

test("what is said about an image stands beside it in an index, and names it", () => {
  const made = documented([image("amd64", true), image("arm64")]);
  const { manifests } = read(made, made.target.digest);
  expect(manifests.map(({ platform }) => platform?.architecture)).toEqual([
    "amd64",
    "unknown",
    "arm64",
  ]);
  const [subject, said] = manifests;
  if (subject === undefined || said === undefined) throw new Error("two manifests");
  expect(said.annotations).toEqual({
    "vnd.docker.reference.digest": subject.digest,
    "vnd.docker.reference.type": "attestation-manifest",
  });
  const [statement] = read(made, said.digest).layers;
  expect(statement).toMatchObject({
    mediaType: "application/vnd.in-toto+json",
    annotations: { "in-toto.io/predicate-type": "p" },
  });
  const bytes = made.documents.get(statement?.digest ?? layer);
  expect(new TextDecoder().decode(bytes)).toBe(`about ${subject.digest}`);
});

test("annotations go where they are meant, and one of an index needs an index", () => {
  const all: ImageAnnotation[] = [
    { on: "manifest", platform: "linux/arm64", name: "a", value: "1" },
    { on: "manifest-descriptor", platform: "", name: "b", value: "2" },
    { on: "index", platform: "", name: "c", value: "3" },
  ];
  const made = documented([image("amd64"), image("arm64")], all);
  const index = read(made, made.target.digest);
  expect(index.annotations).toEqual({ c: "3" });
  expect(index.manifests.map(({ annotations }) => annotations)).toEqual([{ b: "2" }, { b: "2" }]);
  const [first, second] = made.manifests.map(({ digest }) => read(made, digest).annotations);
  expect([first, second]).toEqual([undefined, { a: "1" }]);
  expect(() => documented([image("amd64")], all)).toThrow("index annotations not supported");
});
