/** `naru load`. */
import { EngineError, invalid, sentenceOf } from "#base";
import { loadImages } from "#clients/api-client";

import { platformDocument } from "../options/platform.ts";
import { showProgress } from "../output/progress.ts";
import { STDIN, STDOUT } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import type { Command } from "./command.ts";

export const load: Command = {
  flags: [
    {
      name: "input",
      shorthand: "i",
      kind: "string",
      usage: "Read from tar archive file, instead of STDIN",
      values: "files",
    },
    {
      name: "platform",
      kind: "string",
      usage:
        'Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
    },
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Suppress the load output" },
  ],
  async run({ flags, session }) {
    const input = flags.string("input");
    if (input === "" && isTerminal(STDIN)) {
      throw invalid("requested load from stdin, but stdin is empty");
    }
    const archive = input === "" ? Bun.stdin.stream() : await openArchive(input);
    const quiet = flags.bool("quiet") || !isTerminal(STDOUT);
    const platform = platformDocument(flags.string("platform"));
    const messages = loadImages(await session.client(), archive, { quiet, platform });
    await showProgress(messages, { fd: STDOUT });
    return 0;
  },
};

/** The file as a stream. @throws EngineError when it cannot be read, before the daemon is asked */
export async function openArchive(path: string): Promise<ReadableStream<Uint8Array>> {
  const file = Bun.file(path);
  try {
    if ((await file.stat()).isDirectory()) {
      throw invalid(`read ${path}: is a directory`);
    }
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw invalid(`open ${path}: ${missing ? "no such file or directory" : sentenceOf(cause)}`, {
      cause,
    });
  }
  return file.stream();
}
