/** `naru save`. */
import { closeSync, existsSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { invalid } from "#base";
import { saveImages, type ApiResponse } from "#clients/api-client";

import { platformDocument } from "../options/platform.ts";
import { STDOUT, writeAll } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import type { Command } from "./command.ts";

export const save: Command = {
  flags: [
    {
      name: "output",
      shorthand: "o",
      kind: "string",
      usage: "Write to a file, instead of STDOUT",
      values: "files",
    },
    {
      name: "platform",
      kind: "string",
      usage:
        'Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
    },
  ],
  async run({ flags, args, session }) {
    const output = flags.string("output");
    if (output === "" && isTerminal(STDOUT)) {
      throw invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    if (output !== "") checkOutput(output);
    const response = await saveImages(await session.client(), args, {
      platform: platformDocument(flags.string("platform")),
    });
    if (output === "") await copy(response, STDOUT);
    else await saveTo(output, response);
    return 0;
  },
};

function checkOutput(path: string): void {
  const wrong = (reason: string) => invalid(`failed to save image: ${reason}`);
  const directory = dirname(path);
  if (!existsSync(directory)) {
    throw wrong(`invalid output path: directory "${directory}" does not exist`);
  }
  if (!existsSync(path)) return;
  const stat = statSync(path);
  if (stat.isDirectory()) throw wrong(`invalid output path: "${path}" must be a regular file`);
}

async function copy(response: ApiResponse, fd: number): Promise<void> {
  for (let chunk = await response.read(); chunk; chunk = await response.read()) writeAll(fd, chunk);
}

/** A device or FIFO is written to; a file appears when it is whole. */
async function saveTo(path: string, response: ApiResponse): Promise<void> {
  const special = existsSync(path) && !statSync(path).isFile();
  const target = special ? path : `${path}.naru-${process.pid}`;
  const fd = openSync(target, special ? "w" : "wx", 0o600);
  try {
    await copy(response, fd);
    if (!special) renameSync(target, path);
  } catch (cause) {
    if (!special) rmSync(target, { force: true });
    throw cause;
  } finally {
    closeSync(fd);
  }
}
