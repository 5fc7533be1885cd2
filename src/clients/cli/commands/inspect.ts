/** `naru inspect`, for anything or for one kind of thing. */
import { invalid } from "#base";
import {
  ApiError,
  encodeName,
  inspectContainer,
  inspectImage,
  type ApiClient,
} from "#clients/api-client";

import type { FlagSpec, Flags } from "../flags/spec.ts";
import { platformDocument } from "../options/platform.ts";
import { compileFormat } from "../output/formatter.ts";
import { TemplateError } from "#go-template";
import { print, warn } from "../terminal/stdio.ts";
import { ExitError, type Command, type Invocation } from "./command.ts";
import { messageFor, NO_SUCH_OBJECT } from "./failure.ts";
import { FORMAT_FLAG, JSON_FLAG } from "./shared-flags.ts";

const TEMPLATE_EXIT = 64;

type Inspect = (client: ApiClient, name: string, flags: Flags) => Promise<unknown>;

const kinds = {
  container: async (client, name, flags) =>
    withAbsent(await inspectContainer(client, name, { size: hasSize(flags) })),
  image: (client, name) => inspectImage(client, name),
  network: (client, name) => getJson(client, `/networks/${encodeName(name)}`),
  volume: (client, name) => getJson(client, `/volumes/${encodeName(name)}`),
  // What only other engines have: the engine says so.
  config: (client, name) => getJson(client, `/configs/${encodeName(name)}`),
  node: (client, name) => getJson(client, `/nodes/${encodeName(name)}`),
  plugin: (client, name) => getJson(client, `/plugins/${encodeName(name)}/json`),
  secret: (client, name) => getJson(client, `/secrets/${encodeName(name)}`),
  service: (client, name) => getJson(client, `/services/${encodeName(name)}`),
  task: (client, name) => getJson(client, `/tasks/${encodeName(name)}`),
} as const satisfies Record<string, Inspect>;

/** In the order docker looks for a name. */
const KINDS = ["container", "image", "network", "volume"] as const;
const TYPES = (Object.keys(kinds) as (keyof typeof kinds)[]).toSorted();

/** What Docker leaves out of the JSON and its templates know all the same: `{{json .State.Health}}` is null. */
const withAbsent = <T extends { readonly State?: object }>(container: T): T => ({
  ...container,
  State: { Health: undefined, ...container.State },
});

const getJson = (client: ApiClient, path: string): Promise<unknown> =>
  client.json({ method: "GET", path });

const hasSize = (flags: Flags): boolean => flags.changed("size") && flags.bool("size");

const SIZE_FLAG: FlagSpec = {
  name: "size",
  shorthand: "s",
  kind: "bool",
  usage: "Display total file sizes",
};

export const inspect: Command = {
  flags: [
    FORMAT_FLAG,
    JSON_FLAG,
    { ...SIZE_FLAG, usage: "Display total file sizes if the type is container" },
    {
      name: "type",
      kind: "string",
      usage: "Only inspect objects of the given type",
      values: TYPES,
    },
  ],
  run(invocation) {
    const type = invocation.flags.string("type");
    if (type === "" && !invocation.flags.changed("type"))
      return inspectAll(invocation, findAnything);
    const known = TYPES.find((kind) => kind === type);
    if (known !== undefined) return inspectAll(invocation, kinds[known]);
    const list = TYPES.map((kind) => `"${kind}"`).join(", ");
    throw invalid(`unknown type: ${JSON.stringify(type)}: must be one of ${list}`);
  },
};

export const inspectContainers: Command = {
  flags: [FORMAT_FLAG, JSON_FLAG, SIZE_FLAG],
  run: (invocation) => inspectAll(invocation, kinds.container),
};

export const inspectVolumes: Command = {
  flags: [FORMAT_FLAG, JSON_FLAG],
  run: (invocation) => inspectAll(invocation, kinds.volume),
};

export const inspectNetworks: Command = {
  flags: [
    FORMAT_FLAG,
    JSON_FLAG,
    {
      name: "verbose",
      shorthand: "v",
      kind: "bool",
      usage: "Verbose output for diagnostics",
    },
  ],
  run: (invocation) =>
    inspectAll(invocation, (client, name, flags) =>
      client.json({
        method: "GET",
        path: `/networks/${encodeName(name)}`,
        query: { verbose: flags.bool("verbose") },
      }),
    ),
};

export const inspectImages: Command = {
  flags: [
    FORMAT_FLAG,
    JSON_FLAG,
    {
      name: "platform",
      kind: "string",
      usage: `Inspect a specific platform of the multi-platform image.
If the image or the server is not multi-platform capable, the command will error out if the platform does not match.
'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)`,
    },
  ],
  run: (invocation) =>
    inspectAll(invocation, (client, name, flags) =>
      inspectImage(client, name, { platform: platformDocument(flags.string("platform")) }),
    ),
};

/** The first kind of thing that has this name. */
const findAnything: Inspect = async (client, name, flags) => {
  for (const kind of KINDS) {
    try {
      return await kinds[kind](client, name, flags);
    } catch (cause) {
      const other = cause instanceof ApiError && [400, 404, 501].includes(cause.status);
      if (!other) throw cause;
    }
  }
  throw new ExitError(1, `Error: ${NO_SUCH_OBJECT}${name}`);
};

async function inspectAll({ flags, args, session }: Invocation, get: Inspect): Promise<number> {
  const format = flags.bool("json") ? "" : flags.string("format");
  const render = format === "" ? undefined : guarded(() => compileFormat(format));
  const client = await session.client();
  const found: unknown[] = [];
  const failures: string[] = [];
  for (const name of args) {
    try {
      found.push(await get(client, name, flags));
    } catch (cause) {
      failures.push(messageFor(cause));
    }
  }
  if (render === undefined) print(`${JSON.stringify(found, null, 4)}\n`);
  else print(renderEach(found, render, failures));
  for (const failure of failures) warn(failure);
  return failures.length === 0 ? 0 : 1;
}

/** Each thing by the template, a line each; what cannot be shown is a failure among the others. */
function renderEach(
  found: readonly unknown[],
  render: (data: unknown) => string,
  failures: string[],
): string {
  const lines = found.flatMap((thing) => {
    try {
      return [`${render(thing)}\n`];
    } catch (cause) {
      if (!(cause instanceof TemplateError)) throw cause;
      failures.push(`template parsing error: ${cause.message}`);
      return [];
    }
  });
  return lines.length === 0 ? "\n" : lines.join("");
}

/** Docker ends with 64 for a template that cannot be read. */
function guarded<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new ExitError(TEMPLATE_EXIT, `template parsing error: ${cause.message}`);
  }
}
