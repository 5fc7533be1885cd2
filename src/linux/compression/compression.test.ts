import { expect, test } from "bun:test";

import { bunzip2, unxz } from "./index.ts";

const formats = [
  { program: "bzip2", decode: bunzip2 },
  { program: "xz", decode: unxz },
] as const;

const streamOf = (bytes: Uint8Array, piece: number) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += piece) {
        controller.enqueue(bytes.subarray(at, at + piece));
      }
      controller.close();
    },
  });

const failureOf = (stream: ReadableStream<Uint8Array>): Promise<string> =>
  new Response(stream).bytes().then(
    () => "none",
    (error: Error) => error.message,
  );

for (const { program, decode } of formats) {
  const packed = (bytes: Uint8Array): Uint8Array =>
    Bun.spawnSync([program, "-c"], { stdin: bytes }).stdout;
  const plain = new Uint8Array(600_000).map((_, index) => (index * index) >> 7);

  test(`${program}: any pieces give the same bytes, several streams are one`, async () => {
    const once = packed(plain);
    for (const piece of [1000, 70_000, once.length]) {
      const bytes = await new Response(decode(streamOf(once, piece))).bytes();
      expect(Buffer.compare(bytes, plain)).toBe(0);
    }
    const twice = Buffer.concat([packed(plain.subarray(0, 9)), packed(plain.subarray(9, 50))]);
    expect(await new Response(decode(streamOf(twice, 7))).bytes()).toEqual(plain.slice(0, 50));
  });

  test(`${program}: what is cut or damaged is an error`, async () => {
    const once = packed(plain);
    const cut = decode(streamOf(once.subarray(0, once.length - 20), 5000));
    expect(await failureOf(cut)).toContain(`${program}: `);
    const damaged = Uint8Array.from(once);
    damaged.fill(0x55, 200, 300);
    const broken = decode(streamOf(damaged, 5000));
    expect(await failureOf(broken)).toContain(`${program}: `);
  });

  test(`${program}: a reader that leaves takes the decoder with it`, async () => {
    const reader = decode(streamOf(packed(plain), 1000)).getReader();
    expect((await reader.read()).value?.length).toBeGreaterThan(0);
    await reader.cancel();
  });
}
