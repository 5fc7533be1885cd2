/** `naru push`. */
import { invalid } from "#base";
import { pushImage } from "#clients/api-client";

import { credentialsFor } from "../config/credentials.ts";
import { authKey, familiarName, parseReference } from "../options/reference.ts";
import { platformDocument } from "../options/platform.ts";
import { showProgress } from "../output/progress.ts";
import { printLine, STDOUT } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { CONTENT_TRUST_FLAG } from "./shared-flags.ts";

export const push: Command = {
  flags: [
    {
      name: "all-tags",
      shorthand: "a",
      kind: "bool",
      usage: "Push all tags of an image to the repository",
    },
    { ...CONTENT_TRUST_FLAG, usage: "Skip image signing" },
    {
      name: "platform",
      kind: "string",
      usage: `Push a platform-specific manifest as a single-platform image to the registry.
Image index won't be pushed, meaning that other manifests, including attestations won't be preserved.
'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)`,
    },
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Suppress verbose output" },
  ],
  async run({ flags, args, session }) {
    const [image = ""] = args;
    const reference = parseReference(image);
    const { domain, path, tag, digest } = reference;
    const allTags = flags.bool("all-tags");
    const quiet = flags.bool("quiet");
    if (digest !== undefined) throw invalid("cannot push a digest reference");
    if (allTags && tag !== undefined) throw invalid("tag can't be used with --all-tags/-a");
    if (!allTags && tag === undefined && !quiet) printLine("Using default tag: latest");
    const messages = pushImage(await session.client(), {
      name: familiarName(reference),
      tag: allTags ? undefined : (tag ?? "latest"),
      platform: platformDocument(flags.string("platform")),
      auth: await credentialsFor(session.config, authKey(domain)),
    });
    await showProgress(messages, { fd: STDOUT, quiet });
    if (quiet) printLine(`${domain}/${path}${allTags ? "" : `:${tag ?? "latest"}`}`);
    return 0;
  },
};
