/** `naru pull`. */
import { invalid } from "#base";

import { parseReference } from "../options/reference.ts";
import { printLine, STDOUT } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { pull as pullImage } from "./pull-image.ts";
import { CONTENT_TRUST_FLAG, PLATFORM_FLAG } from "./shared-flags.ts";

export const pull: Command = {
  flags: [
    {
      name: "all-tags",
      shorthand: "a",
      kind: "bool",
      usage: "Download all tagged images in the repository",
    },
    CONTENT_TRUST_FLAG,
    PLATFORM_FLAG,
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Suppress verbose output" },
  ],
  async run({ flags, args, session }) {
    const [image = ""] = args;
    const reference = parseReference(image);
    const { domain, path, tag, digest } = reference;
    const allTags = flags.bool("all-tags");
    const quiet = flags.bool("quiet");
    const bare = tag === undefined && digest === undefined;
    if (allTags && !bare) throw invalid("tag can't be used with --all-tags/-a");
    if (!allTags && bare && !quiet) printLine("Using default tag: latest");
    const platform =
      flags.string("platform") || session.environment["DOCKER_DEFAULT_PLATFORM"] || undefined;
    await pullImage(session, { image, platform, allTags, quiet, fd: STDOUT });
    const suffix = `${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
    printLine(`${domain}/${path}${bare && !allTags ? ":latest" : suffix}`);
    return 0;
  },
};
