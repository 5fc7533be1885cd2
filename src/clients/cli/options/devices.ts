/** `--device`, `--gpus` and the flags that throttle devices. */
import { invalid } from "#base";
import type { DeviceMapping, DeviceRequest, ThrottleDevice } from "#wire/docker";

import { parseBytes } from "../flags/values.ts";
import { devicePair } from "./checks.ts";
import { csvFields, keyValue } from "./csv.ts";

/** `/dev/sda[:/dev/xvda[:rwm]]`, or a CDI name (`vendor.com/class=name`). */
export function parseDevices(texts: readonly string[]): {
  devices: DeviceMapping[];
  requests: DeviceRequest[];
} {
  const devices: DeviceMapping[] = [];
  const cdi: string[] = [];
  for (const text of texts) {
    if (isCdiName(text)) cdi.push(text);
    else devices.push(parseDevice(text));
  }
  const requests =
    cdi.length === 0
      ? []
      : [{ Driver: "cdi", Count: 0, DeviceIDs: cdi, Capabilities: null, Options: null }];
  return { devices, requests };
}

const isCdiName = (text: string): boolean =>
  /^[A-Za-z][\w.-]*[A-Za-z0-9]?\/[A-Za-z][\w-]*=[A-Za-z0-9][\w.:-]*$/.test(text);

const isMode = (text: string): boolean =>
  /^[rwm]{1,3}$/.test(text) && new Set(text).size === text.length;

function parseDevice(text: string): DeviceMapping {
  const [source = "", second, third, ...more] = text.split(":");
  if (source === "" || more.length > 0) throw invalid(`invalid device specification: ${text}`);
  if (third === undefined && second !== undefined && isMode(second)) {
    return { PathOnHost: source, PathInContainer: source, CgroupPermissions: second };
  }
  if (third !== undefined && !isMode(third)) {
    throw invalid(`invalid device specification: ${text}`);
  }
  const target = second ?? source;
  if (!target.startsWith("/")) throw invalid(`${target} is not an absolute path`);
  return {
    PathOnHost: source,
    PathInContainer: target,
    CgroupPermissions: third ?? "rwm",
  };
}

export function checkGpus(text: string): string {
  parseGpus(text);
  return text;
}

/** `all`, a count, or `count=…,device=…,capabilities=…,driver=…,options=…`. @throws Error in docker's words */
export function parseGpus(text: string): DeviceRequest {
  const seen = new Set<string>();
  const request: DeviceRequest = {
    Driver: "",
    Count: 0,
    DeviceIDs: null,
    Capabilities: null,
    Options: null,
  };
  for (const field of csvFields(text)) {
    const [name, content] = keyValue(field);
    const [key, value] = content === undefined ? ["count", name] : [name, content];
    if (seen.has(key)) throw new Error(`gpu request key '${key}' can be specified only once`);
    seen.add(key);
    setGpuField(request, key, value, content !== undefined);
  }
  if (!seen.has("count") && request.DeviceIDs === null) request.Count = 1;
  request.Options ??= {};
  const asked = request.Capabilities?.[0] ?? [];
  request.Capabilities = [asked.includes("gpu") ? asked : [...asked, "gpu"]];
  return request;
}

function setGpuField(request: DeviceRequest, key: string, value: string, pair: boolean): void {
  switch (key) {
    case "driver":
      request.Driver = value;
      return;
    case "count":
      if (value === "all") request.Count = -1;
      else if (/^[+-]?\d+$/.test(value)) request.Count = Number(value);
      else {
        throw new Error(
          `invalid count (${value}): value must be either "all" or an integer: invalid syntax`,
        );
      }
      return;
    case "device":
      request.DeviceIDs = value.split(",");
      return;
    case "capabilities":
      request.Capabilities = [value.split(",")];
      return;
    case "options":
      request.Options = Object.fromEntries(
        value.split(",").map((option) => {
          const [name, content = ""] = keyValue(option);
          return [name, content];
        }),
      );
      return;
    default:
      throw new Error(`unexpected key '${key}' in '${pair ? `${key}=${value}` : value}'`);
  }
}

/** `/dev/sda:1mb` of the `--device-*-bps` flags, `/dev/sda:100` of the others. */
export const parseThrottles = (texts: readonly string[]): ThrottleDevice[] =>
  texts.map((text) => {
    const [path, value] = devicePair(text);
    return { Path: path, Rate: parseBytes(value) };
  });

export const parseWeights = (texts: readonly string[]): { Path: string; Weight: number }[] =>
  texts.map((text) => {
    const [path, value] = devicePair(text);
    return { Path: path, Weight: Number(value) };
  });
