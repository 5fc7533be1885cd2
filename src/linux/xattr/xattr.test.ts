import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";

import { getXattr, listXattrs, setXattr } from "./index.ts";

test("attributes hold binary values on files, descriptors and links themselves", () => {
  const folder = mkdtempSync("/tmp/naru-test-xattr-");
  try {
    writeFileSync(`${folder}/file`, "");
    symlinkSync("file", `${folder}/link`);
    const value = new Uint8Array([0, 255, 10, 0]);
    setXattr(`${folder}/file`, "user.naru", value);
    setXattr(`${folder}/link`, "trusted.naru", new Uint8Array(0));
    expect(getXattr(`${folder}/file`, "user.naru")).toEqual(value);
    expect(getXattr(`${folder}/file`, "user.other")).toBeNull();
    expect(listXattrs(`${folder}/link`)).toEqual(["trusted.naru"]);
    const fd = openSync(`${folder}/file`, "r");
    setXattr(fd, "user.naru", new Uint8Array([1]));
    expect(getXattr(fd, "user.naru")).toEqual(new Uint8Array([1]));
    expect(listXattrs(fd)).toEqual(["user.naru"]);
    closeSync(fd);
    expect(() => getXattr(`${folder}/missing`, "user.naru")).toThrow("no such file");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
