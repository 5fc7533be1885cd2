import { expect, test } from "bun:test";
import { decode, encode } from "dns-packet";
import { assert, property, uint8Array } from "fast-check";

import {
  CODE,
  encodeAnswers,
  encodeCode,
  encodeName,
  isAnswerTo,
  parseQuery,
  type Query,
  TYPE,
  withId,
} from "./packet.ts";

const query = (name: string, more: object = {}): Query => {
  const bytes = encode({
    type: "query",
    id: 9,
    flags: 256,
    questions: [{ name, type: "A" }],
    ...more,
  });
  const parsed = parseQuery(bytes);
  if (parsed === null || "code" in parsed) throw new Error("no query");
  return parsed;
};

test("a question is read: name, type and what the client takes", () => {
  expect(query("Web.Shop")).toMatchObject({ name: "web.shop", type: TYPE.a, udpBytes: 512 });
  const additionals = [
    { name: ".", type: "OPT", udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0, flags: 0 },
  ];
  expect(query("web", { additionals }).udpBytes).toBe(1232);
});

test("answers are read back by another implementation, with the question as it was asked", () => {
  const answers = [
    { type: TYPE.a, data: Uint8Array.of(172, 18, 0, 2) },
    { type: TYPE.a, data: Uint8Array.of(172, 18, 0, 3) },
  ];
  const bytes = encodeAnswers(query("WEB"), { answers, ttlSeconds: 600, limitBytes: 512 });
  const message = decode(Buffer.from(bytes));
  expect(message.questions?.[0]?.name).toBe("WEB");
  expect(message.answers).toMatchObject([
    { name: "WEB", type: "A", ttl: 600, data: "172.18.0.2" },
    { name: "WEB", type: "A", ttl: 600, data: "172.18.0.3" },
  ]);
  const data = encodeName("web.shop");
  const reverse = encodeAnswers(query("2.0.18.172.in-addr.arpa"), {
    answers: [{ type: TYPE.ptr, data }],
    ttlSeconds: 600,
    limitBytes: 512,
  });
  expect(decode(Buffer.from(reverse)).answers).toMatchObject([{ type: "PTR", data: "web.shop" }]);
});

test("who asks with EDNS is answered with it, and told of a version nobody speaks", () => {
  const opt = { name: ".", type: "OPT", udpPayloadSize: 1232, extendedRcode: 0, flags: 0 };
  const asked = query("web", { additionals: [{ ...opt, ednsVersion: 0 }] });
  const answers = Array.from({ length: 60 }, (_, last) => ({
    type: TYPE.a,
    data: Uint8Array.of(10, 0, 0, last),
  }));
  const bytes = encodeAnswers(asked, { answers, ttlSeconds: 1, limitBytes: asked.udpBytes });
  const read = decode(Buffer.from(bytes));
  expect(read.answers).toHaveLength(60);
  expect(read.additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 4096 }]);
  const short = encodeAnswers(asked, { answers, ttlSeconds: 1, limitBytes: 512 });
  expect(short.length).toBeLessThanOrEqual(512);
  expect(decode(Buffer.from(short)).additionals).toHaveLength(1);
  const future = query("web", { additionals: [{ ...opt, ednsVersion: 1 }] });
  expect(future.edns).toBe(1);
  const told = decode(Buffer.from(encodeCode(future, CODE.badVersion)));
  expect(told).toMatchObject({ rcode: "NOERROR", additionals: [{ extendedRcode: 1 }] });
  expect(decode(Buffer.from(encodeCode(query("web"), CODE.refused))).additionals).toEqual([]);
});

test("what does not fit is left out, and the message says so", () => {
  const answers = Array.from({ length: 60 }, (_, last) => ({
    type: TYPE.a,
    data: Uint8Array.of(10, 0, 0, last),
  }));
  const bytes = encodeAnswers(query("web"), { answers, ttlSeconds: 1, limitBytes: 512 });
  expect(bytes.length).toBeLessThanOrEqual(512);
  expect(decode(Buffer.from(bytes)).flag_tc).toBe(true);
});

test("an answer has the question's id and name, or it is somebody else's", () => {
  const asked = query("web");
  const answer = encodeCode(asked, CODE.notFound);
  expect(isAnswerTo(asked, answer, 9)).toBe(true);
  expect(isAnswerTo(asked, answer, 10)).toBe(false);
  expect(isAnswerTo(asked, withId(answer, 10), 10)).toBe(true);
  expect(isAnswerTo(asked, encodeCode(query("wev"), CODE.ok), 9)).toBe(false);
  expect(isAnswerTo(query("WEB"), answer, 9)).toBe(true);
});

test("no bytes make it fail, loop, or answer an answer", () => {
  assert(
    property(uint8Array({ maxLength: 600 }), (bytes) => {
      const parsed = parseQuery(bytes);
      if (parsed !== null && !("code" in parsed)) {
        expect(parsed.name.length).toBeLessThan(256);
        decode(Buffer.from(encodeCode(parsed, CODE.refused)));
      }
      if (bytes.length > 2 && ((bytes[2] ?? 0) & 0x80) !== 0) expect(parsed).toBeNull();
    }),
  );
});
