import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { anyMayStall, leadsToStalling } from "./stalling.ts";

test("file systems of programs and other machines may stall, those of disks and the kernel do not", () => {
  const may = (...types: string[]) => types.map((type) => anyMayStall([{ type }]));
  expect(may("fuse", "fuse.sshfs", "fuseblk", "nfs4", "cifs", "9p", "autofs")).not.toContain(false);
  expect(may("ext4", "overlay", "tmpfs", "proc", "fusectl", "nfsd", "erofs")).not.toContain(true);
});

test("a path leads to such a mount by its names, or by links, which are read only before it", () => {
  const top = mkdtempSync("/tmp/naru-test-stalling-");
  using _ = { [Symbol.dispose]: () => rmSync(top, { recursive: true, force: true }) };
  const at = (name: string) => join(top, name);
  mkdirSync(at("remote"));
  mkdirSync(at("plain"));
  symlinkSync("remote/deep", at("link"));
  symlinkSync(at("plain/../link"), at("further"));
  symlinkSync("loop", at("loop"));
  const leads = (name: string) => leadsToStalling(at(name), [at("remote")]);
  expect(["remote", "remote/a", "plain/../remote/x", "link", "further"].map(leads)).not.toContain(
    false,
  );
  expect(["plain", "plain/a", "missing", "remoter", "loop"].map(leads)).toEqual([
    false,
    false,
    false,
    false,
    false,
  ]);
  expect(leadsToStalling(at("remote"), [])).toBe(false);
  expect(leadsToStalling(at("plain"), ["/"])).toBe(true);
});
