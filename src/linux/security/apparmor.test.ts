import { expect, test } from "bun:test";

import { hasProfile, profileSource } from "./apparmor.ts";

test("a loaded profile is found by its whole name", () => {
  const listing = "docker-default (enforce)\nother-docker-default-x (complain)\n";
  expect(hasProfile(listing, "docker-default")).toBe(true);
  expect(hasProfile(listing, "docker")).toBe(false);
  expect(hasProfile("", "docker-default")).toBe(false);
});

test("the profile lets the engine signal its processes, and denies mounts and the kernel's switches", () => {
  const source = profileSource("docker-default", "naru");
  expect(source).toContain('profile "docker-default" flags=(attach_disconnected,mediate_deleted)');
  expect(source).toContain('signal (receive) peer="naru",');
  for (const rule of ["deny mount,", "deny @{PROC}/sysrq-trigger rwklx,"]) {
    expect(source).toContain(rule);
  }
  expect(profileSource("x", "unconfined").match(/peer="unconfined"/g)).toHaveLength(1);
});
