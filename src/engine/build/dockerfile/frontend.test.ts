import { expect, test } from "bun:test";

import { checkFrontend, isDockerfileFrontend } from "./frontend.ts";

test("the frontend of Dockerfiles is known by its image, wherever a mirror has it", () => {
  for (const image of [
    "docker/dockerfile",
    "docker/dockerfile:1.7-labs",
    "docker.io/docker/dockerfile:1@sha256:00",
    "docker/dockerfile-upstream:master",
    "registry.example:5000/docker/dockerfile:1",
  ]) {
    expect(isDockerfileFrontend(image)).toBe(true);
  }
  for (const image of ["dockerfile", "docker/dockerfiles", "me/docker/dockerfile/x", "r2d4/mocker"])
    expect(isDockerfileFrontend(image)).toBe(false);
});

test("another frontend is refused, whatever the text is that it would read", () => {
  const mocker = "# syntax=r2d4/mocker:1 cmdline\napiVersion: v1\nimages:\n";
  expect(() => checkFrontend(mocker, null)).toThrow("not implemented: the frontend r2d4/mocker:1:");
  expect(() => checkFrontend("FROM scratch\n", "r2d4/mocker")).toThrow("the frontend r2d4/mocker:");
  checkFrontend(mocker, "docker/dockerfile:1");
  checkFrontend("# escape=`\n# syntax=docker/dockerfile:1\nFROM scratch\n", undefined);
  checkFrontend("FROM scratch\n# syntax=r2d4/mocker\n", undefined);
});
