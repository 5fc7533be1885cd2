/** `naru rmi` and `naru tag`. */
import { invalid } from "#base";
import { ApiError, removeImage, tagImage } from "#clients/api-client";

import { platformDocument } from "../options/platform.ts";
import { familiarName, parseReference } from "../options/reference.ts";
import { print, warn } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { messageFor } from "./failure.ts";

export const rmi: Command = {
  flags: [
    { name: "force", shorthand: "f", kind: "bool", usage: "Force removal of the image" },
    { name: "no-prune", kind: "bool", usage: "Do not delete untagged parents" },
    {
      name: "platform",
      kind: "strings",
      usage:
        'Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
    },
  ],
  async run({ flags, args, session }) {
    const client = await session.client();
    const force = flags.bool("force");
    const [platform = "", second] = flags.list("platform");
    if (second !== undefined) throw invalid("only one --platform can be removed at a time");
    let failed = false;
    for (const image of args) {
      try {
        const items = await removeImage(client, image, {
          force,
          noPrune: flags.bool("no-prune"),
          platforms: platformDocument(platform),
        });
        print(
          items
            .map(({ Deleted, Untagged }) =>
              Deleted === undefined ? `Untagged: ${Untagged}\n` : `Deleted: ${Deleted}\n`,
            )
            .join(""),
        );
      } catch (cause) {
        warn(messageFor(cause));
        const missing = cause instanceof ApiError && cause.status === 404;
        if (!force || !missing) failed = true;
      }
    }
    if (failed) throw new ExitError(1);
    return 0;
  },
};

export const tag: Command = {
  flags: [],
  async run({ args, session }) {
    const [source = "", target = ""] = args;
    const reference = parseTarget(target);
    await tagImage(await session.client(), source, {
      repository: familiarName(reference),
      tag: reference.tag ?? "latest",
    });
    return 0;
  },
};

function parseTarget(target: string) {
  try {
    return parseReference(target);
  } catch (cause) {
    // Docker's client has a sentence of its own for the target.
    throw new ExitError(
      1,
      `Error parsing reference: ${JSON.stringify(target)} is not a valid repository/tag: ${messageFor(cause)}`,
    );
  }
}
