/** Reads or writes a container's files for the daemon that started it, where a file system might not answer. */
import { runFilesTask } from "#engine/container";
import { setNotDumpable } from "#linux/process";

export async function run([task = ""]: readonly string[]): Promise<void> {
  // It has a container's root open.
  setNotDumpable();
  await runFilesTask(task);
  process.exit(0);
}
