/** `naru import`. */
import { importImage } from "#clients/api-client";

import { parseReference } from "../options/reference.ts";
import { showProgress } from "../output/progress.ts";
import { STDOUT } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { openArchive } from "./load.ts";
import { PLATFORM_FLAG } from "./shared-flags.ts";

export const importCommand: Command = {
  flags: [
    {
      name: "change",
      shorthand: "c",
      kind: "list",
      usage: "Apply Dockerfile instruction to the created image",
    },
    {
      name: "message",
      shorthand: "m",
      kind: "string",
      usage: "Set commit message for imported image",
    },
    PLATFORM_FLAG,
  ],
  async run({ flags, args, session }) {
    const [from = "", name] = args;
    if (name !== undefined) parseReference(name);
    const tagAt = name === undefined ? -1 : name.indexOf(":", name.lastIndexOf("/") + 1);
    const messages = importImage(await session.client(), {
      source: await sourceOf(from),
      repository: tagAt < 0 ? name : name?.slice(0, tagAt),
      tag: tagAt < 0 ? undefined : name?.slice(tagAt + 1),
      message: flags.string("message") || undefined,
      changes: flags.list("change"),
      platform: flags.string("platform") || undefined,
    });
    await showProgress(messages, { fd: STDOUT });
    return 0;
  },
};

async function sourceOf(from: string) {
  if (from === "-") return { stream: Bun.stdin.stream() };
  if (/^(?:https?|git|ftp):\/\//.test(from)) return { url: from };
  return { stream: await openArchive(from) };
}
