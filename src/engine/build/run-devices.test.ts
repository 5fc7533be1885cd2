import { expect, test } from "bun:test";

import { parseDockerfile } from "#engine/build/dockerfile";

import type { Granted } from "./entitlements.ts";
import { grantedDevices } from "./run-devices.ts";

const HERE = [
  { name: "a.b/c=one", isForAll: false },
  { name: "a.b/c=two", isForAll: true },
];
const find = (name: string) => HERE.filter((each) => each.name === name || name === "a.b/c=*");
const NOTHING: Granted = { entitlements: new Set(), devices: [] };
const asked = (...texts: string[]) => {
  const flags = texts.map((text) => `--device=${text}`).join(" ");
  const [run] = parseDockerfile(`FROM a\nRUN ${flags} x`).stages[0]?.instructions ?? [];
  return run?.kind === "run" ? run.devices : [];
};

test("a device is had by who may have it: by name, by its vendor's word, or all of them", () => {
  expect(grantedDevices(asked("a.b/c=two"), NOTHING, find)).toEqual(["a.b/c=two"]);
  expect(() => grantedDevices(asked("a.b/c=one"), NOTHING, find)).toThrow(
    "device a.b/c=one is requested by the build but not allowed",
  );
  const one = { ...NOTHING, devices: ["a.b/c=one"] };
  expect(grantedDevices(asked("a.b/c=*", "a.b/c=one"), one, find)).toHaveLength(2);
  const all: Granted = { ...NOTHING, entitlements: new Set(["device"]) };
  expect(grantedDevices(asked("name=a.b/c=one,required"), all, find)).toEqual(["a.b/c=one"]);
});

test("one that is not there is missed only where it is required", () => {
  expect(grantedDevices(asked("x.y/z=1"), NOTHING, find)).toEqual([]);
  expect(() => grantedDevices(asked("x.y/z=1,required"), NOTHING, find)).toThrow(
    'required device "x.y/z=1" is not registered',
  );
});

test.each([
  ["a.b/c=d,required=maybe", "invalid value for required: maybe"],
  ["a.b/c=d,x", "invalid field 'x' must be a key=value pair"],
  ["a.b/c=d,nam=x", "(did you mean name?)"],
  ["a.b/c=d,name=x", "device name already set to a.b/c=d"],
  ["name=a.b/c,requird=1", "unexpected key 'requird' in 'requird=1' (did you mean required?)"],
])("%s is refused", (text, sentence) => {
  expect(() => asked(text)).toThrow(sentence);
});
