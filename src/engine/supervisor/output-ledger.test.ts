import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { OutputLedger } from "./output-ledger.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (found: Uint8Array) => new TextDecoder().decode(found);

/** A supervisor's life after another: the file is what stays. */
function opened() {
  const folder = mkdtempSync("/tmp/naru-test-ledger-");
  folders.push(folder);
  const path = join(folder, "output.ledger");
  const log = join(folder, "log");
  writeFileSync(log, "old\n");
  const open = () => {
    const ledger = OutputLedger.open(path);
    if (ledger === null) throw new Error("no ledger");
    return ledger;
  };
  const place = () => ({ inode: statSync(log).ino, sizeBytes: statSync(log).size });
  const holding = (pipe: string) => ({ logPath: log, peek: () => bytes(pipe) });
  return { open, log, place, holding };
}

test("a chunk that is still in its pipe is taken out of the log again, whole or cut off", () => {
  const { open, log, place, holding } = opened();
  const slot = open().slot("a/stdout");
  slot?.begin(bytes("one\ntw"), place());
  slot?.prepare(bytes("tw"));
  slot?.commit();
  writeFileSync(log, "old\none\n");
  slot?.begin(bytes("o\nthree\nfo"), place());
  writeFileSync(log, "old\none\ntwo\nthr");
  const next = open();
  expect(textOf(next.recover("a/stdout", holding("o\nthree\nfour\n")))).toBe("tw");
  expect(readFileSync(log, "utf8")).toBe("old\none\n");
  // It has been put in order: a second death before anything is read changes nothing.
  expect(textOf(open().recover("a/stdout", holding("")))).toBe("tw");
});

test("a chunk that has left its pipe stays in the log, with the beginning of a line behind it", () => {
  const { open, log, place, holding } = opened();
  const slot = open().slot("a/stdout");
  slot?.begin(bytes("one\ntw"), place());
  writeFileSync(log, "old\none\n");
  slot?.prepare(bytes("tw"));
  expect(textOf(open().recover("a/stdout", holding("o\n")))).toBe("tw");
  expect(readFileSync(log, "utf8")).toBe("old\none\n");
});

test("a log that rotated meanwhile is left alone, and so is one whose pipe is gone", () => {
  const { open, log, place, holding } = opened();
  const slot = open().slot("a/stdout");
  slot?.begin(bytes("one\n"), { ...place(), inode: 1 });
  writeFileSync(log, "old\none\n");
  expect(textOf(open().recover("a/stdout", null))).toBe("");
  open().recover("a/stdout", holding("one\n"));
  expect(readFileSync(log, "utf8")).toBe("old\none\n");
});

test("slots of streams that ended are used again, and nobody finds the words of another", () => {
  const { open, place } = opened();
  const ledger = open();
  for (let round = 0; round < 5000; round += 1) {
    const slot = ledger.slot(`${round}/stdout`);
    slot?.begin(bytes("x"), place());
    slot?.prepare(bytes("secret"));
    slot?.commit();
    ledger.release(`${round}/stdout`);
  }
  expect(ledger.slot("last/stderr")).not.toBeNull();
  const next = open();
  expect(textOf(next.recover("4999/stdout", null))).toBe("");
  expect(textOf(next.recover("last/stderr", null))).toBe("");
  next.slot("kept/stdout");
  open().forgetOthers();
  expect(ledger.slot("x".repeat(300))).toBeNull();
});

test("a full exec-root costs the kept line, not the supervisor: no page is touched that is not there", async () => {
  const folder = mkdtempSync("/tmp/naru-test-ledger-");
  folders.push(folder);
  // Room for the heads and some texts, and for no more.
  const script = `
    const { checked, cstring } = await import("#linux/ffi");
    const { OutputLedger } = await import("${import.meta.dir}/output-ledger.ts");
    checked("unshare", "mounts", 0x20000);
    checked("mount", "private", null, cstring("/"), null, 0x44000, null);
    checked("mount", "tmpfs", cstring("t"), cstring("${folder}"), cstring("tmpfs"), 0, cstring("size=640k"));
    const ledger = OutputLedger.open("${folder}/output.ledger");
    const text = new Uint8Array(16384).fill(97);
    let kept = 0;
    for (let at = 0; at < 100; at += 1) {
      const slot = ledger.slot("a" + at + "/stdout");
      slot.begin(text, { inode: 1, sizeBytes: 0 });
      slot.prepare(text);
      slot.commit();
      if (ledger.recover("a" + at + "/stdout", null).length > 0) kept += 1;
    }
    console.log(kept > 0 && kept < 100 ? "lives" : "kept " + kept);
    const none = OutputLedger.open("${folder}/second.ledger");
    console.log(none === null ? "none" : "opened");`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    cwd: import.meta.dir,
    stdout: "pipe",
    stderr: "pipe",
  });
  const said = [await child.stdout.text(), await child.stderr.text(), await child.exited];
  expect(said).toEqual(["lives\nnone\n", "", 0]);
});
