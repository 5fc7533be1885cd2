import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { encodeFields, FieldReader, HeaderError } from "./hpack.ts";

const byteString = (maxLength: number) =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString("latin1"));

test("fields that are spelled out are read as they were", () => {
  const fields = fc.array(fc.tuple(byteString(300), byteString(300)), { maxLength: 20 });
  fc.assert(
    fc.property(fields, (some) => {
      expect(new FieldReader().read(encodeFields(some))).toEqual(some);
    }),
  );
});

test("known, remembered and coded fields are read: the examples of RFC 7541, C.4", () => {
  const reader = new FieldReader();
  const read = (hex: string) =>
    reader.read(Buffer.from(hex, "hex")).map((field) => field.join("="));
  const first = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
  expect(read("828684418cf1e3c2e5f23a6ba0ab90f4ff")).toEqual(first);
  expect(read("828684be5886a8eb10649cbf")).toEqual([...first, "cache-control=no-cache"]);
  expect(read("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")).toEqual([
    ":method=GET",
    ":scheme=https",
    ":path=/index.html",
    ":authority=www.example.com",
    "custom-key=custom-value",
  ]);
});

test("what no longer fits into the table is forgotten: the examples of RFC 7541, C.6", () => {
  const reader = new FieldReader();
  const read = (hex: string) =>
    reader.read(Buffer.from(hex, "hex")).map((field) => field.join("="));
  // A table of 256 bytes, as the example has it.
  expect(read("3fe101")).toEqual([]);
  const dated = (at: string) => [
    "cache-control=private",
    `date=Mon, 21 Oct 2013 20:13:${at} GMT`,
    "location=https://www.example.com",
  ];
  expect(
    read(
      "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    ),
  ).toEqual([":status=302", ...dated("21")]);
  expect(read("4883640effc1c0bf")).toEqual([":status=307", ...dated("21")]);
  expect(
    read(
      "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ),
  ).toEqual([
    ":status=200",
    "cache-control=private",
    "date=Mon, 21 Oct 2013 20:13:22 GMT",
    "location=https://www.example.com",
    "content-encoding=gzip",
    "set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
  ]);
});

test("what is broken, cut or too much is refused, whatever it is", () => {
  const read = (bytes: readonly number[]) => new FieldReader().read(Uint8Array.from(bytes));
  for (const broken of [
    [0x80],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    [0xbe],
    [0x3f, 0xff, 0xff, 0x7f],
    [0x00, 0x05, 0x61],
    // Huffman: the end of a text inside of it, and eight bits that are nothing.
    [0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00],
    [0x00, 0x82, 0x1f, 0xff, 0x00],
  ]) {
    expect(() => read(broken)).toThrow(HeaderError);
  }
  // One remembered field, named again and again: small to send, large to hold.
  const large = encodeFields([["a", "x".repeat(3000)]]);
  large[0] = 0x40;
  expect(() => read([...large, ...Array(200).fill(0xbe)])).toThrow("too many header fields");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (noise) => {
      try {
        new FieldReader().read(noise);
      } catch (cause) {
        expect(cause).toBeInstanceOf(HeaderError);
      }
    }),
  );
});
