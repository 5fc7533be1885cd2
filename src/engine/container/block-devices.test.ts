import { expect, test } from "bun:test";

import { blockIoOf, checkDeviceLimits } from "./block-devices.ts";

const limits = {
  weights: [{ path: "/dev/x", weight: 500 }],
  readBps: [{ path: "/dev/x", rate: 1 }],
  writeBps: [],
  readIops: [],
  writeIops: [],
};

test("limits that the host cannot hold are discarded with Docker's warnings", () => {
  const warnings: string[] = [];
  const some = { blkioWeightDevice: false, blkioThrottle: true };
  expect(checkDeviceLimits(limits, some, warnings)).toEqual({ ...limits, weights: [] });
  expect(warnings).toEqual([
    "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
  ]);
  const none = { blkioWeightDevice: false, blkioThrottle: false };
  expect(checkDeviceLimits(limits, none, warnings)).toBeUndefined();
  expect(warnings.at(-1)).toBe(
    "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
  );
});

test("a weight out of range and a path that is no block device are refused", () => {
  const all = { blkioWeightDevice: true, blkioThrottle: true };
  const heavy = { ...limits, weights: [{ path: "/dev/x", weight: 5 }] };
  expect(() => checkDeviceLimits(heavy, all, [])).toThrow("Range of blkio weight");
  const at = (path: string) => () => blockIoOf({ ...limits, weights: [{ path, weight: 10 }] });
  expect(at("/dev/none-such")).toThrow("stat /dev/none-such: no such file or directory");
  expect(at("/dev/null")).toThrow("/dev/null is not a block device");
});
