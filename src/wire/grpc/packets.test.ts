import { expect, test } from "bun:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";

import { PacketSchema } from "./generated/fsutil_pb.ts";
import { BytesMessageSchema } from "./generated/filesync_pb.ts";
import { decodeFilePacket } from "./packets.ts";
import { bytesMessage, dataPacket, statPacket } from "./packets-out.ts";

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const size = fc.bigInt({ min: 0n, max: 2n ** 53n - 1n });
const uint32 = fc.nat({ max: 0xffffffff });
const bytes = fc.uint8Array({ maxLength: 300 });
const latin1 = (value: Uint8Array) => Buffer.from(value).toString("latin1");

const packets = fc.record({
  type: fc.nat({ max: 9 }),
  id: uint32,
  data: bytes,
  stat: fc.option(
    fc.record({
      path: bytes,
      mode: uint32,
      uid: uint32,
      gid: uint32,
      size,
      modTime: int64,
      linkname: bytes,
      devmajor: size,
      devminor: size,
      xattrs: fc.dictionary(fc.string({ unit: "grapheme-ascii", minLength: 1 }), bytes),
    }),
    { nil: undefined },
  ),
});

test("packets are read as the general decoder reads them", () => {
  fc.assert(
    fc.property(packets, ({ stat, ...rest }) => {
      const init = { ...rest, ...(stat === undefined ? {} : { stat }) };
      const encoded = toBinary(PacketSchema, create(PacketSchema, init));
      const known = fromBinary(PacketSchema, encoded);
      const read = decodeFilePacket(encoded);
      expect([read.type, read.id, [...read.data]]).toEqual([known.type, known.id, [...known.data]]);
      expect(read.stat === null).toBe(known.stat === undefined);
      if (known.stat === undefined || read.stat === null) return;
      expect({ ...read.stat, xattrs: Object.fromEntries(read.stat.xattrs ?? []) }).toEqual({
        path: latin1(known.stat.path),
        mode: known.stat.mode,
        sizeBytes: Number(known.stat.size),
        modTime: known.stat.modTime,
        link: latin1(known.stat.linkname),
        devMajor: Number(known.stat.devmajor),
        devMinor: Number(known.stat.devminor),
        xattrs: known.stat.xattrs,
      });
    }),
  );
});

test("packets are written as the general encoder writes them", () => {
  const whole = (message: Uint8Array | readonly Uint8Array[]) =>
    Buffer.from(message instanceof Uint8Array ? message : Buffer.concat(message)).toString("hex");
  const known = (init: Parameters<typeof create<typeof PacketSchema>>[1]) =>
    Buffer.from(toBinary(PacketSchema, create(PacketSchema, init))).toString("hex");
  fc.assert(
    fc.property(packets, ({ id, data, stat }) => {
      expect(whole(dataPacket(id, data))).toBe(known({ type: 2, id, data }));
      const message = toBinary(BytesMessageSchema, create(BytesMessageSchema, { data }));
      // Without bytes the general one leaves the field out; so short a message is none that is sent.
      if (data.length > 0)
        expect(whole(bytesMessage(data))).toBe(Buffer.from(message).toString("hex"));
      if (stat === undefined) return;
      const { xattrs: _, path, linkname, size, devmajor, devminor, ...rest } = stat;
      const told = statPacket({
        ...rest,
        path: latin1(path),
        link: latin1(linkname),
        sizeBytes: Number(size),
        devMajor: Number(devmajor),
        devMinor: Number(devminor),
      });
      const { xattrs: __, ...without } = stat;
      expect(whole(told)).toBe(known({ stat: without }));
    }),
  );
});

test("what is no packet is refused, whatever it is", () => {
  for (const broken of [[0x12], [0x12, 0x05, 0x0a], [0x08, ...Array(11).fill(0xff)], [0x0b]]) {
    expect(() => decodeFilePacket(new Uint8Array(broken as number[]))).toThrow();
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      try {
        decodeFilePacket(noise);
      } catch (cause) {
        expect(String(cause)).toContain("a packet cannot be read");
      }
    }),
  );
});
