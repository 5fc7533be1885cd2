import { describe, expect, test } from "bun:test";

import { INT64, parseBool, parseBytes, parseInteger, parseNanoCpus, UINT16 } from "./values.ts";

describe("sizes are read as docker/go-units reads memory", () => {
  test.each([
    ["512", 512],
    ["64m", 64 * 1024 ** 2],
    ["1.5GiB", 1.5 * 1024 ** 3],
    ["1 k", 1024],
    ["1kib", 1024],
    ["1e3", 1000],
    ["1.", 1],
    ["2b", 2],
  ])("%s", (text, bytes) => expect(parseBytes(text)).toBe(bytes));

  test.each([
    ["abc", "invalid size: 'abc'"],
    ["-5", "invalid size: '-5'"],
    ["1q", "invalid suffix: 'q'"],
    ["1bb", "invalid suffix: 'bb'"],
    ["5x5", 'strconv.ParseFloat: parsing "5x5": invalid syntax'],
    ["", "invalid size: ''"],
  ])("%p is refused", (text, message) => expect(() => parseBytes(text)).toThrow(message));
});

test("integers are Go's in base 0, and know their range", () => {
  expect(parseInteger("0x10", INT64)).toBe(16);
  expect(parseInteger("1_000", INT64)).toBe(1000);
  expect(parseInteger("-1", INT64)).toBe(-1);
  expect(() => parseInteger("x", INT64)).toThrow('strconv.ParseInt: parsing "x": invalid syntax');
  expect(() => parseInteger("99999999", UINT16)).toThrow(
    'strconv.ParseUint: parsing "99999999": value out of range',
  );
});

test("CPUs are a rational number with nine decimals at most", () => {
  expect(parseNanoCpus("1.5")).toBe(1_500_000_000);
  expect(parseNanoCpus("1/2")).toBe(500_000_000);
  expect(() => parseNanoCpus("2/3")).toThrow("value is too precise");
  expect(() => parseNanoCpus("x")).toThrow("failed to parse x as a rational number");
});

test("bools are Go's", () => {
  expect([parseBool("T"), parseBool("0")]).toEqual([true, false]);
  expect(() => parseBool("yes")).toThrow('strconv.ParseBool: parsing "yes": invalid syntax');
});
