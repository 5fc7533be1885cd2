/** `naru commit`. */
import { commitContainer } from "#clients/api-client";

import { parseReference } from "../options/reference.ts";
import { printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

export const commit: Command = {
  flags: [
    {
      name: "author",
      shorthand: "a",
      kind: "string",
      usage: 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")',
    },
    {
      name: "change",
      shorthand: "c",
      kind: "list",
      usage: "Apply Dockerfile instruction to the created image",
    },
    { name: "message", shorthand: "m", kind: "string", usage: "Commit message" },
    {
      name: "pause",
      shorthand: "p",
      kind: "bool",
      usage: "Pause container during commit",
      fallback: true,
    },
  ],
  async run({ flags, args, session }) {
    const [container = "", name] = args;
    if (name !== undefined) parseReference(name);
    const tagAt = name === undefined ? -1 : name.indexOf(":", name.lastIndexOf("/") + 1);
    const { Id: id } = await commitContainer(await session.client(), container, {
      repository: tagAt < 0 ? name : name?.slice(0, tagAt),
      tag: tagAt < 0 ? undefined : name?.slice(tagAt + 1),
      author: flags.string("author"),
      comment: flags.string("message"),
      pause: flags.bool("pause"),
      changes: flags.list("change"),
    });
    printLine(id);
    return 0;
  },
};
