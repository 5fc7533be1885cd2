/** Limits of single block devices: weights and throttles, asked for by path, held by number. */
import { statSync } from "node:fs";

import { invalid } from "#base";
import type { ResourcesSpec, ThrottleDevice } from "#oci";

import type { DeviceLimits, DeviceRate } from "./config.ts";
import { deviceNumbers } from "./devices.ts";
import type { HostFacts } from "./host-facts.ts";

type BlockIo = NonNullable<ResourcesSpec["blockIO"]>;

const FIELDS = [
  ["readBps", "BPS Block I/O read limit", "Block I/O BPS read limit"],
  ["writeBps", "BPS Block I/O write limit", "Block I/O BPS write limit"],
  ["readIops", "IOPS Block read limit", "Block I/O IOPS read limit"],
  ["writeIops", "IOPS Block write limit", "Block I/O IOPS write limit"],
] as const;

/**
 * What of it this host can hold; undefined when nothing is left. Pure.
 * @throws EngineError "invalid" for a weight out of range
 */
export function checkDeviceLimits(
  limits: DeviceLimits,
  facts: Pick<HostFacts, "blkioWeightDevice" | "blkioThrottle">,
  warnings: string[],
): DeviceLimits | undefined {
  let kept = limits;
  for (const { weight } of limits.weights) {
    if (weight < 10 || weight > 1000) throw invalid("Range of blkio weight is from 10 to 1000");
  }
  if (limits.weights.length > 0 && !facts.blkioWeightDevice) {
    warnings.push(
      "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
    );
    kept = { ...kept, weights: [] };
  }
  for (const [field, limit, discarded] of FIELDS) {
    if (kept[field].length === 0 || facts.blkioThrottle) continue;
    warnings.push(
      `Your kernel does not support ${limit} or the cgroup is not mounted. ${discarded} discarded.`,
    );
    kept = { ...kept, [field]: [] };
  }
  return Object.values(kept).every(({ length }) => length === 0) ? undefined : kept;
}

/** The same by device number. @throws EngineError "invalid": `stat /dev/sdx: no such file or directory` */
export function blockIoOf(limits: DeviceLimits): BlockIo {
  const throttle = (devices: readonly DeviceRate[]): ThrottleDevice[] =>
    devices.map(({ path, rate }) => ({ ...numbersAt(path), rate }));
  return {
    weightDevice: limits.weights.map(({ path, weight }) => ({ ...numbersAt(path), weight })),
    throttleReadBpsDevice: throttle(limits.readBps),
    throttleWriteBpsDevice: throttle(limits.writeBps),
    throttleReadIOPSDevice: throttle(limits.readIops),
    throttleWriteIOPSDevice: throttle(limits.writeIops),
  };
}

function numbersAt(path: string): { major: number; minor: number } {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw invalid(`stat ${path}: no such file or directory`);
  if (!stat.isBlockDevice()) throw invalid(`${path} is not a block device`);
  return deviceNumbers(BigInt(stat.rdev));
}
