import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";

import { SyscallError } from "#linux/ffi";

import { hasProjectQuotas, limitProject, projectOf } from "./index.ts";

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "none";
  } catch (error) {
    return error instanceof SyscallError ? error.code : String(error);
  }
};

test("a file system without projects says so, and harms nobody", () => {
  const folder = mkdtempSync("/dev/shm/naru-test-quota-");
  try {
    expect(hasProjectQuotas(folder)).toBe(false);
    expect(codeOf(() => projectOf(folder))).toMatch(/^(ENOTTY|EOPNOTSUPP|none)$/);
    expect(codeOf(() => limitProject(folder, 0x4e41_0001, 1024))).not.toBe("none");
    expect(codeOf(() => hasProjectQuotas(`${folder}/gone`))).toBe("ENOENT");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
