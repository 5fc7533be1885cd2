/** The process that reads and writes files which may never answer: see aside.ts. */
import { writeSync } from "node:fs";

import { EngineError, sentenceOf } from "#base";

import type { PathStat } from "../container-service.ts";
import type { Task, Told } from "./aside.ts";
import { pathStatIn } from "./lookup.ts";
import { openStillRoot } from "./still-root.ts";
import type { Files } from "./view.ts";
import { archivePieces, exportPieces, extractHere } from "./work.ts";

const ROOT_FD = 3;
const STDOUT = 1;

/** Does one task; what fails before the first byte is told on stdout, what fails later ends with a code. */
export async function runFilesTask(text: string): Promise<void> {
  const task = JSON.parse(text) as Task;
  let told = false;
  const tell = (what: Told): void => {
    told = true;
    writeAll(Buffer.from(`${JSON.stringify(what)}\n`));
  };
  try {
    const { name, user, maps, still } = task;
    using root = still === null ? null : openStillRoot(still);
    const record = { name, config: { user } };
    const files: Files = { record, rootFd: root?.fd ?? ROOT_FD, maps, patienceMs: () => null };
    await work(files, task, (stat) => tell({ stat }));
  } catch (error) {
    if (told) throw error;
    const kind = error instanceof EngineError ? error.kind : "internal";
    tell({ error: { kind, message: sentenceOf(error) } });
  }
}

async function work(
  files: Files,
  task: Task,
  tell: (stat: PathStat | null) => void,
): Promise<void> {
  switch (task.action) {
    case "stat":
      return tell(pathStatIn(files, task.asked));
    case "read":
      tell(pathStatIn(files, task.asked));
      for (const piece of archivePieces(files, task.asked)) writeAll(piece);
      return;
    case "export":
      tell(null);
      for (const piece of exportPieces(files)) writeAll(piece);
      return;
    case "extract": {
      const { keepKinds, copyOwner } = task;
      const archive = Bun.stdin.stream();
      const { signal } = new AbortController();
      await extractHere(files, task.asked, { archive, keepKinds, copyOwner, signal });
      tell(null);
    }
  }
}

/** Blocks where the reader does not read: nothing else is to be done here. */
function writeAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(STDOUT, bytes, at);
    } catch (error) {
      // A pipe that the reader made so: wait for room.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Bun.sleepSync(1);
    }
  }
}
