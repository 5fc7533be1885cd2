/** The process that runs an errand: see errand.ts. */
import { mkdirSync, readdirSync, realpathSync, statSync } from "node:fs";

import { EngineError, invalid, sentenceOf } from "#base";
import { mountVolume } from "#engine/volume";
import { OPEN_TREE_CLONE, openTreeBelow } from "#linux/mount";
import { AT_RECURSIVE, isType, S_IFDIR, statFd } from "#linux/path";

import type { Errand, ErrandAnswer, ErrandTold, OpenedTree, Source } from "./errand.ts";

/** Does what it is told, and keeps what it opened until its input ends. */
export async function runErrand(text: string): Promise<void> {
  const task = JSON.parse(text) as Errand;
  await Bun.write(Bun.stdout, `${JSON.stringify(await toldOf(task))}\n`);
  for await (const _ of Bun.stdin.stream()) continue;
}

async function toldOf(task: Errand): Promise<ErrandTold<Errand["errand"]>> {
  try {
    return { done: await doneOf(task) };
  } catch (cause) {
    const kind = cause instanceof EngineError ? cause.kind : "internal";
    return { error: { kind, message: sentenceOf(cause) } };
  }
}

async function doneOf(task: Errand): Promise<ErrandAnswer[Errand["errand"]]> {
  switch (task.errand) {
    case "open":
      return task.sources.map(open);
    case "volume":
      if (task.mount !== null) await mountVolume(task.mount, task.path);
      if (statSync(task.path).isDirectory()) readdirSync(task.path);
      return null;
  }
}

function open({ path, subpath, recursive, create }: Source): OpenedTree {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    if (!create) {
      throw invalid(
        `invalid mount config for type "bind": bind source path does not exist: ${path}`,
      );
    }
    mkdirSync(path, { recursive: true, mode: 0o755 });
  }
  const flags = OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0);
  const descriptor = openTreeBelow({ path, subpath, flags });
  const directory = isType(statFd(descriptor).mode, S_IFDIR);
  return { descriptor, directory, realPath: realpathSync(path) };
}
