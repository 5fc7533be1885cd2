import { expect, test } from "bun:test";

import { type Aside, statAside } from "./aside.ts";
import { parseAskedPath } from "./lookup.ts";

const about = { name: "web", user: "", maps: null, still: null };
const asideOf = (script: string, limitMs?: number): Aside => ({
  command: ["sh", "-c", script, "helper"],
  rootFd: null,
  about,
  ...(limitMs === undefined ? {} : { limitMs }),
});
const asked = parseAskedPath("/file");
const failure = async (aside: Aside): Promise<unknown> =>
  await statAside(aside, asked).catch((error: unknown) => error);

test("one that does not answer is killed after a while, in words that tell why", async () => {
  const error = await failure(asideOf("exec sleep 1000", 50));
  expect(error).toMatchObject({ kind: "unavailable" });
  expect(String(error)).toContain("a file system of the container does not answer");
});

test("what it tells arrives, errors with their kind, and its death with what it said", async () => {
  const stat = { name: "file", sizeBytes: 1, mode: 2, mtimeSec: 3, mtimeNsec: 4, linkTarget: "" };
  const tells = `printf '%s\\n' '${JSON.stringify({ stat })}'`;
  expect(await statAside(asideOf(tells), asked)).toEqual(stat);
  const told = JSON.stringify({ error: { kind: "notFound", message: "no such file" } });
  expect(await failure(asideOf(`printf '%s\\n' '${told}'`))).toMatchObject({
    kind: "notFound",
    message: "no such file",
  });
  expect(String(await failure(asideOf("echo broken >&2; exit 1")))).toContain("broken");
});
