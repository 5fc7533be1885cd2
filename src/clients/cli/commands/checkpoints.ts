/** `naru checkpoint`: for engines with experimental features; docker's client, too, asks no other. */
import { type ApiClient, encodeName, systemVersion } from "#clients/api-client";
import { Row } from "#go-template";

import type { FlagSpec } from "../flags/spec.ts";
import { listFormatter } from "../output/formatter.ts";
import { print, printLine } from "../terminal/stdio.ts";
import { ExitError, type Command, type Invocation } from "./command.ts";

const DIRECTORY: FlagSpec = {
  name: "checkpoint-dir",
  kind: "string",
  usage: "Use a custom checkpoint storage directory",
  values: "files",
};

/** @param what is asked: `naru checkpoint ls`, or a flag in quotes */
export async function requireExperimental(client: ApiClient, what: string): Promise<void> {
  if ((await systemVersion(client)).Experimental === true) return;
  throw new ExitError(
    1,
    `${what} is only supported on a Docker daemon with experimental features enabled`,
  );
}

async function experimental({ name, session }: Invocation): Promise<ApiClient> {
  const client = await session.client();
  await requireExperimental(client, name.replace(/ list$/, " ls").replace(/ remove$/, " rm"));
  return client;
}

const pathOf = (container = ""): string => `/containers/${encodeName(container)}/checkpoints`;

export const create: Command = {
  flags: [
    DIRECTORY,
    {
      name: "leave-running",
      kind: "bool",
      usage: "Leave the container running after checkpoint",
    },
  ],
  async run(invocation) {
    const { flags, args } = invocation;
    const client = await experimental(invocation);
    const [container, checkpoint = ""] = args;
    await client.send({
      method: "POST",
      path: pathOf(container),
      json: {
        CheckpointID: checkpoint,
        CheckpointDir: flags.string("checkpoint-dir"),
        Exit: !flags.bool("leave-running"),
      },
    });
    printLine(checkpoint);
    return 0;
  },
};

export const ls: Command = {
  flags: [DIRECTORY],
  async run(invocation) {
    const client = await experimental(invocation);
    const found = await client.json<{ readonly Name: string }[]>({
      method: "GET",
      path: pathOf(invocation.args[0]),
      query: { dir: invocation.flags.string("checkpoint-dir") || undefined },
    });
    const headers = { Name: "CHECKPOINT NAME" };
    const render = listFormatter({ format: "", table: "table {{.Name}}", raw: "", headers });
    print(render(found.map(({ Name }) => new Row("checkpoint", { Name: () => Name }))));
    return 0;
  },
};

export const rm: Command = {
  flags: [DIRECTORY],
  async run(invocation) {
    const client = await experimental(invocation);
    const [container, checkpoint = ""] = invocation.args;
    await client.send({
      method: "DELETE",
      path: `${pathOf(container)}/${encodeName(checkpoint)}`,
      query: { dir: invocation.flags.string("checkpoint-dir") || undefined },
    });
    return 0;
  },
};
