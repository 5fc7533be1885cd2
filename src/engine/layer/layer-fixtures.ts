/** For tests: archives and trees with one of everything. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";

import { joinBytes } from "#base";
import { setXattr } from "#linux/xattr";

import { type TarEntrySource, TarWriter } from "#wire/tar";

export async function tarOf(entries: [TarEntrySource, (Uint8Array | string)?][]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const writer = new TarWriter((bytes) => void chunks.push(bytes));
  for (const [entry, body] of entries) await writer.add(entry, body);
  await writer.end();
  return Buffer.from(joinBytes(chunks));
}

export const streamOf = (
  bytes: Uint8Array,
  piece = bytes.length || 1,
): ReadableStream<Uint8Array> =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += piece) {
        controller.enqueue(bytes.subarray(at, at + piece));
      }
      controller.close();
    },
  });

export const failureOf = (work: Promise<unknown>): Promise<{ kind?: string; message: string }> =>
  work.then(
    () => ({ message: "no failure" }),
    (error: unknown) => error as { kind?: string; message: string },
  );

/** Runs GNU tar; its words are the error. */
export function gnuTar(...args: string[]): void {
  const xattrs = args.includes("--format=gnu") ? [] : ["--xattrs", "--xattrs-include=*"];
  const { status, stderr } = spawnSync("tar", [...xattrs, "--numeric-owner", ...args]);
  if (status !== 0) throw new Error(stderr.toString());
}

/** A tree with one of everything that a layer may hold. */
export function makeTree(root: string): void {
  mkdirSync(`${root}/dir/sub`, { recursive: true });
  writeFileSync(`${root}/empty`, "");
  writeFileSync(`${root}/small`, "small");
  writeFileSync(`${root}/exact-block`, "b".repeat(512));
  writeFileSync(`${root}/large`, Buffer.alloc(300_001, "large file "));
  linkSync(`${root}/small`, `${root}/dir/hard`);
  linkSync(`${root}/small`, `${root}/z-hard`);
  symlinkSync("small", `${root}/link`);
  symlinkSync("/absolute/nowhere", `${root}/dir/dangling`);
  for (const length of [440, 447, 448, 449, 511, 512, 513, 4095])
    symlinkSync("l".repeat(length), `${root}/link-${length}`);
  linkSync(`${root}/link`, `${root}/hard-to-link`);
  writeFileSync(`${root}/${"n".repeat(255)}`, "longest name");
  writeFileSync(
    Buffer.concat([Buffer.from(`${root}/bytes-`), Buffer.from([0xff, 0xfe])]),
    "not UTF-8",
  );
  writeFileSync(`${root}/한글 이름`, "text");
  for (let index = 0; index < 200; index += 1)
    writeFileSync(`${root}/dir/sub/file-${index}-${"x".repeat(index)}`, String(index));
  const run = (...command: [string, ...string[]]) => {
    const { status, stderr } = spawnSync(command[0], command.slice(1));
    if (status !== 0) throw new Error(stderr.toString());
  };
  run("mknod", `${root}/null`, "c", "1", "3");
  run("mknod", `${root}/block`, "b", "259", "70000");
  run("mkfifo", `${root}/fifo`);
  run("chown", "70000:4294967290", `${root}/large`);
  run("chown", "-h", "5:6", `${root}/link`);
  run("chmod", "6755", `${root}/large`);
  run("chmod", "1777", `${root}/dir`);
  run("touch", "-d", "@1234567890.123456789", `${root}/empty`);
  run("touch", "-h", "-d", "@-100", `${root}/dir/dangling`);
  setXattr(`${root}/small`, "user.binary", Buffer.from([0, 10, 61, 255, 0]));
  setXattr(`${root}/small`, "user.empty", Buffer.alloc(0));
  setXattr(
    `${root}/large`,
    "security.capability",
    Buffer.from("0100000200040000000000000000000000000000", "hex"),
  );
  setXattr(`${root}/dir`, "user.long", Buffer.alloc(2000, "v"));
  const fd = openSync(`${root}/sparse`, "w");
  for (const position of [0, 70_000, 200_000, 1_000_000])
    writeSync(fd, `data at ${position}`, position);
  ftruncateSync(fd, 3_000_001);
  closeSync(fd);
  writeFileSync(`${root}/all-hole`, "");
  run("truncate", "-s", "5M", `${root}/all-hole`);
}
