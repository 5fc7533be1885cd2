import { expect, test } from "bun:test";

import { bandwidthOf, bandwidthOptions, checkBandwidth, checkOwnOptions } from "./bandwidth.ts";

const egress = (text: string) => bandwidthOf({ "naru.egress": text })?.egressBytesPerSecond;

test("rates are read in bits per second, with Docker's kind of units", () => {
  expect(egress("10mbit")).toBe(1_250_000);
  expect(egress("1.5Mbit")).toBe(187_500);
  expect(egress("64kbit")).toBe(8000);
  expect(egress("100gbit")).toBe(12_500_000_000);
  expect(egress("80000")).toBe(10_000);
});

test("what is not said is not limited", () => {
  expect(bandwidthOf({})).toBeNull();
  expect(bandwidthOf({ "naru.egress": "" })).toBeNull();
  expect(bandwidthOf({ "naru.ingress": "1mbit" })).toEqual({ ingressBytesPerSecond: 125_000 });
  expect(bandwidthOptions({ other: "1", "naru.egress": "1mbit", "naru.ingress": "" })).toEqual({
    "naru.egress": "1mbit",
  });
});

test.each(["fast", "-1mbit", "10mb", "10mbps", "1e9", "0x10", "10 mbit", "ten".repeat(1000), "∞"])(
  "%s is no rate",
  (text) => {
    expect(() => egress(text)).toThrow(/^invalid naru\.egress "/);
  },
);

test.each(["0", "1bit", "7.9kbit", "101gbit", "999999999999gbit"])("%s is out of range", (text) => {
  expect(() => egress(text)).toThrow("a rate is between 8kbit and 100gbit");
});

test("what arrives can be limited only where the link has an end on the host", () => {
  checkBandwidth("bridge", { "naru.ingress": "1mbit" });
  checkBandwidth("macvlan", { "naru.egress": "1mbit" });
  expect(() => checkBandwidth("ipvlan", { "naru.ingress": "1mbit" })).toThrow(
    "naru.ingress needs a bridge network",
  );
});

test("a name of ours that means nothing is refused, a stranger's is kept", () => {
  checkOwnOptions({ "com.example.x": "1", "naru.egress": "1mbit" });
  expect(() => checkOwnOptions({ "naru.egres": "1mbit" })).toThrow("naru.egres is not known");
});
