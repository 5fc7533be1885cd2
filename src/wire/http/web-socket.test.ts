import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { webSocketAccept, WebSocketDecoder, webSocketFrame } from "./index.ts";

/** A client's frame: the server's, with a mask. */
function masked(opcode: number, payload: Uint8Array): Uint8Array {
  const frame = webSocketFrame(opcode, payload);
  const size = frame.length - payload.length;
  const mask = new Uint8Array([1, 2, 3, 4]);
  frame[1] = (frame[1] ?? 0) | 0x80;
  return Buffer.concat([
    frame.subarray(0, size),
    mask,
    payload.map((byte, at) => byte ^ (mask[at & 3] ?? 0)),
  ]);
}

test("the handshake's answer is the one of RFC 6455", () => {
  expect(webSocketAccept("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

test("masked frames of every length decode, cut anywhere", () => {
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 130 }),
    fc.constantFrom(126, 65_535, 65_536, 70_000).map((size) => new Uint8Array(size).fill(7)),
  );
  fc.assert(
    fc.property(
      fc.array(payload, { maxLength: 4 }),
      fc.integer({ min: 1, max: 9000 }),
      (all, cut) => {
        const wire = Buffer.concat(all.map((one) => masked(2, one)));
        const got: Uint8Array[] = [];
        const decoder = new WebSocketDecoder((_, one) => got.push(one));
        for (let at = 0; at < wire.length; at += cut) decoder.push(wire.subarray(at, at + cut));
        expect(got.map((one) => Buffer.from(one).toString("hex"))).toEqual(
          all.map((one) => Buffer.from(one).toString("hex")),
        );
      },
    ),
    { numRuns: 50 },
  );
});

test("unmasked, reserved and oversized frames are refused", () => {
  const push = (bytes: Uint8Array) => () => new WebSocketDecoder(() => {}).push(bytes);
  expect(push(webSocketFrame(2, new Uint8Array(3)))).toThrow("must be masked");
  expect(push(new Uint8Array([0xf2, 0x80, 0, 0, 0, 0]))).toThrow("reserved bits");
  expect(push(masked(2, new Uint8Array(2_000_000)))).toThrow("too large");
  expect(push(masked(9, new Uint8Array(126)))).toThrow("too large");
});
