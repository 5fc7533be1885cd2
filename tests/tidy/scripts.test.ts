/** Scripts that run rarely, or in a machine of their own, are at least read by the shell each time. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";

const scripts = [
  ...new Bun.Glob("{script,.ci,tests}/**/*").scanSync({ cwd: ".", dot: true }),
].filter((file) => /^#!.*\b(ba)?sh\n/.test(readFileSync(file, "latin1").slice(0, 80)));

test.each(scripts)("%s is a script the shell understands", (file) => {
  const { stderr } = Bun.spawnSync(["bash", "-n", file], { stderr: "pipe" });
  expect(stderr.toString()).toBe("");
});
