import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";

import { readVendors, requestedEdits } from "./cdi.ts";

const request = (ids: string[], change: object = {}) => [
  { driver: "cdi", count: 0, ids, capabilities: [], options: {}, ...change },
];

/** Folders with files in them, gone after the test. */
function folders(...contents: Record<string, string>[]) {
  const root = mkdtempSync("/tmp/naru-test-cdi-");
  const paths = contents.map((files, index) => {
    const path = `${root}/${index}`;
    mkdirSync(path);
    for (const [name, text] of Object.entries(files)) writeFileSync(`${path}/${name}`, text);
    return path;
  });
  return { paths, [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) };
}

const vendor = (name: string, containerEdits: object) =>
  JSON.stringify({ kind: "v.test/d", devices: [{ name, containerEdits }] });

test("files that make no sense hide no other vendor's devices", () => {
  const broken = ["{", "[]", "null", '{"kind":1,"devices":[{"name":"x"}]}'];
  const odd = ['{"kind":"v.test/o","devices":[null,7,{}]}', '{"kind":"v.test/p","devices":{}}'];
  const files = Object.fromEntries(
    [...broken, ...odd].map((text, index) => [`${index}.json`, text] as const),
  );
  using disk = folders({ ...files, "good.json": vendor("x", { env: ["A=1"] }), "a.txt": "{" });
  expect([...readVendors([...disk.paths, "/nowhere"]).keys()]).toEqual(["v.test/d=x"]);
  expect(requestedEdits(request(["v.test/d=x"]), disk.paths).env).toEqual(["A=1"]);
});

test("what a device needs is checked before anything is done", () => {
  const edits: [object, string][] = [
    [{ env: ["=x"] }, "invalid environment variable"],
    [{ mounts: [{ hostPath: "x", containerPath: "/y" }] }, "it must be absolute"],
    [{ deviceNodes: [{ path: "/dev/x", hostPath: "/etc/passwd" }] }, "is not a device node"],
    [{ deviceNodes: [{ path: "/dev/null", permissions: "rx" }] }, "invalid permissions"],
    [{ hooks: [{}] }, "invalid hook name"],
  ];
  for (const [containerEdits, sentence] of edits) {
    using disk = folders({ "v.json": vendor("x", containerEdits) });
    const injected = () => requestedEdits(request(["v.test/d=x"]), disk.paths);
    expect(injected).toThrow("CDI device injection failed:");
    expect(injected).toThrow(sentence);
  }
});

test("requests of other drivers, counts and options are refused in Docker's words", () => {
  const asked = (change: object) => () => requestedEdits(request(["a"], change), []);
  expect(asked({ driver: "", capabilities: [["gpu", "x"]] })).toThrow(
    'could not select device driver "" with capabilities: [[gpu x]]',
  );
  expect(asked({ count: 1 })).toThrow("unexpected count in CDI device request");
  expect(asked({ options: { a: "b" } })).toThrow("unexpected options in CDI device request");
  expect(asked({})).toThrow("CDI device injection failed: unresolvable CDI devices a");
  expect(requestedEdits(undefined, [])).toEqual(requestedEdits([], []));
});
