import { expect, test } from "bun:test";

import { familyText, Histogram, observed, timed } from "./instruments.ts";

test("a histogram counts what took at most as long as each of its buckets says", () => {
  const histogram = new Histogram("x_seconds", "Of x.", "action");
  histogram.observe("b", 0.005);
  histogram.observe("b", 20);
  histogram.observe("a", 0.3);
  const lines = histogram.text().split("\n");
  expect(lines.slice(0, 2)).toEqual(["# HELP x_seconds Of x.", "# TYPE x_seconds histogram"]);
  expect(lines.findIndex((line) => line.includes('action="a"'))).toBe(2);
  expect(lines).toContain('x_seconds_bucket{action="b",le="0.005"} 1');
  expect(lines).toContain('x_seconds_bucket{action="b",le="10"} 1');
  expect(lines).toContain('x_seconds_bucket{action="b",le="+Inf"} 2');
  expect(lines).toContain('x_seconds_sum{action="b"} 20.005');
  expect(lines).toContain('x_seconds_count{action="b"} 2');
  expect(lines).toContain('x_seconds_bucket{action="a",le="0.25"} 0');
});

test("a label's value ends no line and no quotation", () => {
  const samples = [{ labels: { name: 'a"b\\c\nd' }, value: 1 }];
  expect(familyText("x", { type: "gauge", help: "X.", samples })).toEndWith(
    'x{name="a\\"b\\\\c\\nd"} 1',
  );
});

class Room {
  #secret = 7;
  async open(): Promise<number> {
    return this.#secret;
  }
  async fail(): Promise<never> {
    throw new Error("no");
  }
  get value(): number {
    return this.#secret;
  }
}

test("a room that is measured is the same room, and only successes are timed", async () => {
  const histogram = new Histogram("x_seconds", "Of x.", "action");
  const room = timed(new Room(), { open: "open", fail: "fail" }, histogram);
  expect(await room.open()).toBe(7);
  expect(room.value).toBe(7);
  expect(await room.fail().catch(String)).toBe("Error: no");
  expect(histogram.text()).toContain('x_seconds_count{action="open"} 1');
  expect(histogram.text()).not.toContain('action="fail"');
  const failures: string[] = [];
  const watched = observed(
    new Room(),
    { fail: "fail" },
    () => undefined,
    (label) => void failures.push(label),
  );
  expect(await watched.fail().catch(String)).toBe("Error: no");
  expect(failures).toEqual(["fail"]);
});
