import { expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { EngineError } from "#base";
import { attempt } from "#linux/ffi";

import { createOf, type Fixture, openFixture } from "./fixture.ts";

const LOCK_EX = 2;

async function running(fixture: Fixture): Promise<string> {
  const { id } = await fixture.room.create(createOf({ name: "web" }));
  await fixture.room.start(id);
  return id;
}

const ask = (name: string, change: { directory?: string; leaveRunning?: boolean } = {}) => ({
  name,
  directory: change.directory ?? "",
  leaveRunning: change.leaveRunning ?? true,
});
const list = ({ room }: Fixture, directory = "") => room.listCheckpoints("web", { directory });
const folderOf = (fixture: Fixture, id: string) =>
  join(fixture.folder, "containers", id, "checkpoints");
const refusalOf = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (thrown: EngineError) => ({ kind: thrown.kind, message: thrown.message }),
  );
const isMaking = (folder: string) => existsSync(join(folder, ".making"));
/** The test's own time limit ends it. */
const until = async (isSo: () => boolean) => {
  while (!isSo()) await Bun.sleep(1);
};
const actions = ({ events }: Fixture) => events.map(({ action }) => action);

test("a checkpoint of a container that runs on is listed, told of, and removed", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  expect(list(fixture)).toEqual([]);
  await fixture.room.createCheckpoint("web", ask("two"));
  await fixture.room.createCheckpoint("web", ask("one"));
  expect(list(fixture)).toEqual(["one", "two"]);
  expect(actions(fixture).filter((action) => action === "checkpoint").length).toBe(2);
  expect(fixture.room.resolve(id).state.status).toBe("running");
  await fixture.room.removeCheckpoint("web", { name: "one", directory: "" });
  expect(list(fixture)).toEqual(["two"]);
  expect(readdirSync(folderOf(fixture, id))).toEqual(["two"]);
});

test("a container that is not left running has ended when its checkpoint is answered", async () => {
  await using fixture = openFixture();
  await running(fixture);
  await fixture.room.createCheckpoint("web", ask("one", { leaveRunning: false }));
  expect(fixture.room.resolve("web").state).toMatchObject({ status: "exited", exitCode: 137 });
});

test("a start goes on from a checkpoint's folder, an ordinary one from none", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  await fixture.room.createCheckpoint("web", ask("one", { leaveRunning: false }));
  await fixture.room.start("web", { checkpoint: "one", checkpointDirectory: "" });
  const [first, second] = fixture.supervisor.births;
  expect(first?.images).toBeUndefined();
  expect(second?.images).toBe(join(folderOf(fixture, id), "one"));
});

test("a checkpoint that is not there fails its start in Docker's words", async () => {
  await using fixture = openFixture();
  await fixture.room.create(createOf({ name: "web" }));
  for (const checkpoint of ["one", "../../x", ".."]) {
    expect(
      await refusalOf(fixture.room.start("web", { checkpoint, checkpointDirectory: "" })),
    ).toMatchObject({
      kind: "notFound",
      message: `checkpoint ${checkpoint} does not exist for container /web`,
    });
  }
  expect(
    await refusalOf(fixture.room.start("web", { checkpoint: "one", checkpointDirectory: "/tmp" })),
  ).toMatchObject({
    kind: "forbidden",
    message: "custom checkpointdir is not supported",
  });
});

test("names that are no names, and names that are taken, are refused", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  for (const name of ["", "a", "../x", ".hidden", "a/b", "a b"]) {
    expect(await refusalOf(fixture.room.createCheckpoint("web", ask(name)))).toMatchObject({
      kind: "invalid",
      message: `Invalid checkpoint ID (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    });
    const removal = fixture.room.removeCheckpoint("web", { name, directory: "" });
    expect(await refusalOf(removal)).toMatchObject({ kind: "invalid" });
  }
  await fixture.room.createCheckpoint("web", ask("one"));
  expect(await refusalOf(fixture.room.createCheckpoint("web", ask("one")))).toMatchObject({
    kind: "conflict",
    message:
      "cannot checkpoint container web: checkpoint with name one already exists for container web",
  });
  writeFileSync(join(folderOf(fixture, id), "file"), "");
  expect(await refusalOf(fixture.room.createCheckpoint("web", ask("file")))).toMatchObject({
    message: expect.stringContaining("exists and is not a directory"),
  });
  expect(await refusalOf(fixture.room.createCheckpoint("web", ask("n".repeat(300))))).toMatchObject(
    {
      kind: "invalid",
    },
  );
  expect(
    await refusalOf(fixture.room.removeCheckpoint("web", { name: "none", directory: "" })),
  ).toMatchObject({
    kind: "notFound",
    message: "checkpoint none does not exist for container web",
  });
});

test("a container that does not run, or is paused, has nothing to write down", async () => {
  await using fixture = openFixture();
  const { id } = await fixture.room.create(createOf({ name: "web" }));
  expect(await refusalOf(fixture.room.createCheckpoint("web", ask("one")))).toMatchObject({
    kind: "conflict",
    message: `container ${id} is not running`,
  });
  expect(await refusalOf(fixture.room.createCheckpoint("nobody", ask("one")))).toMatchObject({
    kind: "notFound",
  });
});

test("what could not be written leaves nothing, and says why", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  fixture.supervisor.onCheckpoint = ({ images }) => {
    writeFileSync(join(images, "pages-1.img"), "half");
    throw new Error("criu failed: exit status 1");
  };
  expect(await refusalOf(fixture.room.createCheckpoint("web", ask("one")))).toMatchObject({
    kind: "internal",
    message: "Cannot checkpoint container web: criu failed: exit status 1: unknown",
  });
  expect(readdirSync(folderOf(fixture, id))).toEqual([]);
  expect(actions(fixture)).not.toContain("checkpoint");
});

test("a folder of a person's holds checkpoints as well, and only those are removed from it", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  const directory = join(fixture.folder, "mine");
  expect(() => list(fixture, directory)).toThrow("checkpoint  does not exist for container web");
  await fixture.room.createCheckpoint("web", ask("one", { directory }));
  mkdirSync(join(directory, "photos"));
  expect(list(fixture, directory)).toEqual(["one", "photos"]);
  expect(list(fixture)).toEqual([]);
  expect(readdirSync(folderOf(fixture, id))).toEqual([]);
  expect(
    await refusalOf(fixture.room.removeCheckpoint("web", { name: "photos", directory })),
  ).toMatchObject({ kind: "notFound" });
  await fixture.room.removeCheckpoint("web", { name: "one", directory });
  expect(readdirSync(directory)).toEqual(["photos"]);
});

test("a folder that cannot be written to is refused, and nothing of the attempt is left", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  writeFileSync(join(fixture.folder, "plain"), "");
  for (const directory of [join(fixture.folder, "plain"), "/proc/nowhere", "a\0b"]) {
    expect(
      await refusalOf(fixture.room.createCheckpoint("web", ask("one", { directory }))),
    ).toEqual({
      kind: "invalid",
      message: expect.stringContaining("cannot checkpoint container web: "),
    });
  }
  expect(readdirSync(folderOf(fixture, id))).toEqual([]);
});

test("what a crash interrupted is finished where all was written, and removed where not", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  const own = folderOf(fixture, id);
  const elsewhere = join(fixture.folder, "mine", "far");
  const folders = { half: ["naru.json", ".making"], whole: ["naru.json", "stats-dump", ".making"] };
  for (const [name, files] of Object.entries(folders)) {
    mkdirSync(join(own, name), { recursive: true });
    for (const file of files) writeFileSync(join(own, name, file), "");
  }
  mkdirSync(join(own, "unmarked"));
  mkdirSync(elsewhere, { recursive: true });
  writeFileSync(join(elsewhere, ".making"), "");
  writeFileSync(join(own, ".far"), elsewhere);
  mkdirSync(join(fixture.folder, "theirs"));
  writeFileSync(join(fixture.folder, "theirs", "file"), "");
  writeFileSync(join(own, ".foreign"), join(fixture.folder, "theirs"));
  await fixture.reopen();
  await until(() => readdirSync(own).join() === "whole" && !isMaking(join(own, "whole")));
  expect(list(fixture)).toEqual(["whole"]);
  expect(existsSync(elsewhere)).toBe(false);
  expect(existsSync(join(fixture.folder, "theirs", "file"))).toBe(true);
});

test("a writer that outlives the daemon ends its checkpoint in peace", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  const images = join(folderOf(fixture, id), "slow");
  mkdirSync(images, { recursive: true });
  writeFileSync(join(images, ".making"), "");
  const writer = openSync(join(images, ".making"), "r+");
  attempt("flock", writer, LOCK_EX);
  await fixture.reopen();
  expect(list(fixture)).toEqual([]);
  expect(existsSync(images)).toBe(true);
  for (const name of ["naru.json", "stats-dump"]) writeFileSync(join(images, name), "");
  closeSync(writer);
  await until(() => list(fixture).join() === "slow");
});

test("a removed container's checkpoints go with it", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  await fixture.room.createCheckpoint("web", ask("one", { leaveRunning: false }));
  await fixture.room.remove("web", { force: false, volumes: false });
  await fixture.room.swept();
  expect(existsSync(folderOf(fixture, id))).toBe(false);
});
