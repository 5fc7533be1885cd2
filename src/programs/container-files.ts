/** Reads, writes or opens files for the daemon that started it, where a file system might not answer. */
import { runErrand, runFilesTask } from "#engine/container";
import { setNotDumpable } from "#linux/process";

export async function run([task = "", errand = ""]: readonly string[]): Promise<void> {
  // It has a container's root open.
  setNotDumpable();
  await (task === "errand" ? runErrand(errand) : runFilesTask(task));
  process.exit(0);
}
