import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";

import { rooms } from "../../src/rooms.ts";

/** The deepest room on the map that holds this path (relative to src/). */
function roomOf(path: string): string {
  const room = [...rooms.keys()]
    .filter((name) => path === name || path.startsWith(`${name}/`))
    .toSorted((a, b) => b.length - a.length)[0];
  if (room === undefined) throw new Error(`${path} is in no room of src/rooms.ts`);
  return room;
}

const files = [...new Bun.Glob("**/*.ts").scanSync("src")];

test("a room names only rooms above its own line", () => {
  const seen = new Set<string>();
  for (const [room, doors] of rooms) {
    for (const door of doors)
      expect({ room, door, known: seen.has(door) }).toMatchObject({ known: true });
    seen.add(room);
  }
});

test("every room on the map has its door", async () => {
  const missing: string[] = [];
  for (const room of rooms.keys()) {
    if (!(await Bun.file(join("src", room, "index.ts")).exists())) missing.push(room);
  }
  expect(missing).toEqual([]);
});

for (const file of files) {
  if (!file.includes("/") || file.startsWith("programs/")) continue; // wiring sees every room
  const room = roomOf(file); // throws for a folder that is not on the map
  test(`${file} uses only the doors of ${room}`, async () => {
    const source = await Bun.file(join("src", file)).text();
    for (const [, path = ""] of source.matchAll(/\b(?:from|import)\s*\(?\s*"([#.][^"]*)"/g)) {
      if (path.startsWith("#")) expect(rooms.get(room)).toContain(path.slice(1));
      else expect(roomOf(normalize(join(dirname(file), path)))).toBe(room);
    }
  });
}
