import { expect, test } from "bun:test";

import type { Image } from "#engine/image";
import { digestOf, type ImageConfig } from "#oci";

import { encodeImage } from "./image.ts";

const imageOf = (config: Partial<ImageConfig>): Image => ({
  id: digestOf("image"),
  config: {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [] },
    ...config,
  },
  references: [],
  repoDigests: [],
  sizeBytes: 1,
  lastTagged: null,
  parent: null,
  indexes: [],
});

test("what an image does not set is null, as clients expect who never ask whether it is there", () => {
  const { Config, ContainerConfig } = encodeImage(
    imageOf({ config: { Env: ["A=1"], Cmd: [] } }),
    "1.51",
  );
  expect(Config).toEqual({
    Cmd: null,
    Entrypoint: null,
    Env: ["A=1"],
    Labels: null,
    OnBuild: null,
    User: "",
    Volumes: null,
    WorkingDir: "",
  });
  expect(ContainerConfig).toBeUndefined();
});

test("older clients get the fields of containers too, and the oldest another config", () => {
  const image = imageOf({});
  expect(encodeImage(image, "1.49").Config).toMatchObject({ Hostname: "", Tty: false });
  expect(encodeImage(image, "1.50").Config).not.toHaveProperty("Hostname");
  expect(encodeImage(image, "1.45")).not.toHaveProperty("ContainerConfig");
  expect(encodeImage(image, "1.44").ContainerConfig).toMatchObject({ Image: "", Cmd: null });
});

test.each([
  ["2026-01-02T03:04:05.500Z", "2026-01-02T03:04:05.5Z"],
  ["2026-01-02T03:04:05.000000000Z", "2026-01-02T03:04:05Z"],
  ["2026-01-02T03:04:50Z", "2026-01-02T03:04:50Z"],
  ["2026-01-02T03:04:05.120+01:00", "2026-01-02T03:04:05.12+01:00"],
])("an instant is told as Go writes it: %s", (created, told) => {
  expect(encodeImage(imageOf({ created }), "1.51").Created).toBe(told);
});

test("an image without a date has none since API 1.44, and year one before", () => {
  expect(encodeImage(imageOf({}), "1.44")).not.toHaveProperty("Created");
  expect(encodeImage(imageOf({}), "1.43").Created).toBe("0001-01-01T00:00:00Z");
});
