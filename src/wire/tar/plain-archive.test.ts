import { expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { plainArchive, TAR_TRAILER } from "./index.ts";

/** Of the sort that every format makes smaller, but not small. */
const text = Buffer.from(crypto.getRandomValues(Buffer.alloc(30_000)).toHex());
const byProgram = (program: string) =>
  Buffer.from(Bun.spawnSync([program, "-c"], { stdin: text }).stdout);
const packed = {
  gzip: gzipSync(text),
  zstd: zstdCompressSync(text),
  xz: byProgram("xz"),
  bzip2: byProgram("bzip2"),
};

const failureOf = async (stream: ReadableStream<Uint8Array>): Promise<unknown> =>
  new Response(await plainArchive(stream)).bytes().then(
    () => "no failure",
    (error: unknown) => error,
  );

const streamOf = (bytes: Uint8Array) =>
  new Response(new Uint8Array(bytes)).body ?? new ReadableStream();

for (const [format, good] of Object.entries(packed)) {
  test(`an archive in ${format} that is damaged is its sender's mistake, and is told by its format`, async () => {
    const damaged = Buffer.from(good);
    damaged.fill(0xff, 10, 400);
    const error = await failureOf(streamOf(damaged));
    expect(error).toMatchObject({ kind: "invalid" });
    expect(String(error)).toContain(format);
  });

  test(`a source of ${format} that breaks off fails as it does`, async () => {
    const reason = new Error("the client went away");
    let pulled = 0;
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        if ((pulled += 1) > 1) throw reason;
        controller.enqueue(new Uint8Array(good.subarray(0, 10_000)));
      },
    });
    const error = await failureOf(broken);
    expect(error).toBe(reason);
  });
}

test("what is plain passes as it is", async () => {
  const bytes = await new Response(await plainArchive(streamOf(TAR_TRAILER))).bytes();
  expect(bytes).toEqual(new Uint8Array(TAR_TRAILER));
});
