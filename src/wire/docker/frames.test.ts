import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { encodeExit, encodeFrame, FrameDecoder, type FrameStream } from "./frames.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

test("a frame is its stream, its length in big-endian and its bytes", () => {
  expect([...encodeFrame("stderr", bytesOf("hi"))]).toEqual([2, 0, 0, 0, 0, 0, 0, 2, 104, 105]);
});

test("frames cut anywhere decode to the same bytes on the same streams", () => {
  const frame = fc.record({
    stream: fc.constantFrom<FrameStream>("stdout", "stderr"),
    payload: fc.uint8Array({ maxLength: 40 }),
  });
  fc.assert(
    fc.property(fc.array(frame), fc.integer({ min: 1, max: 13 }), (frames, cut) => {
      const wire = Buffer.concat(frames.map((one) => encodeFrame(one.stream, one.payload)));
      const got: Record<string, number[]> = { stdout: [], stderr: [] };
      const decoder = new FrameDecoder((stream, payload) => got[stream]?.push(...payload));
      for (let at = 0; at < wire.length; at += cut) decoder.push(wire.subarray(at, at + cut));
      decoder.end();
      for (const stream of ["stdout", "stderr"]) {
        const sent = frames
          .filter((one) => one.stream === stream)
          .flatMap((one) => [...one.payload]);
        expect(got[stream]).toEqual(sent);
      }
    }),
    { numRuns: 200 },
  );
});

test("bytes that are not frames, oversized frames and a cut frame are refused", () => {
  const decoder = () => new FrameDecoder(() => {});
  expect(() => decoder().push(bytesOf("HTTP/1.1"))).toThrow("Unrecognized input header: 72");
  expect(() => decoder().push(new Uint8Array([1, 0, 0, 0, 255, 255, 255, 255]))).toThrow(
    "too large",
  );
  const cut = decoder();
  cut.push(encodeFrame("stdout", bytesOf("hello")).subarray(0, 10));
  expect(() => cut.end()).toThrow("unexpected EOF");
});

test("an exit code comes whole however it is cut, and only to who asked for it", () => {
  const wire = Buffer.concat([encodeFrame("stdout", bytesOf("x")), encodeExit(137)]);
  for (let cut = 1; cut <= wire.length; cut += 1) {
    const got: unknown[] = [];
    const decoder = new FrameDecoder(
      (stream) => got.push(stream),
      (code) => got.push(code),
    );
    for (let at = 0; at < wire.length; at += cut) decoder.push(wire.subarray(at, at + cut));
    decoder.end();
    expect(got).toEqual(["stdout", 137]);
  }
  expect(() => new FrameDecoder(() => {}).push(wire)).toThrow("Unrecognized input header: 4");
  const wrong = Buffer.concat([encodeFrame("exit", bytesOf("12345"))]);
  expect(() =>
    new FrameDecoder(
      () => {},
      () => {},
    ).push(wrong),
  ).toThrow("an exit code of 5 bytes");
});
