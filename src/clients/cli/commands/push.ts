/** `naru push`. */
import { invalid } from "#base";
import { pushImage } from "#clients/api-client";
import type { JsonMessage } from "#wire/docker";

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
    const notes: string[] = [];
    await showProgress(withNotes(messages, notes), { fd: STDOUT, quiet });
    if (quiet) printLine(`${domain}/${path}${allTags ? "" : `:${tag ?? "latest"}`}`);
    for (const note of notes)
      printLine(`\n${HEAD}${note.replaceAll("\n", `\n${" ".repeat(HEAD.length)}`)}`);
    return 0;
  },
};

const HEAD = " Info -> ";

/** The same messages; what the engine says beside them goes into `notes`. */
async function* withNotes(
  messages: AsyncIterable<JsonMessage>,
  notes: string[],
): AsyncGenerator<JsonMessage> {
  for await (const message of messages) {
    const aux = message.aux as Partial<PushedInstead> | undefined;
    if (aux?.manifestPushedInsteadOfIndex === true) {
      const [from, to] = [aux.originalIndex?.digest ?? "", aux.selectedManifest?.digest ?? ""];
      notes.push(
        `Not all multiplatform-content is present and only the available single-platform image was pushed\n${from} -> ${to}`,
      );
    }
    yield message;
  }
}

/** What the engine says of an index of which it sent one platform. */
interface PushedInstead {
  readonly manifestPushedInsteadOfIndex: true;
  readonly originalIndex: { readonly digest: string };
  readonly selectedManifest: { readonly digest: string };
}
