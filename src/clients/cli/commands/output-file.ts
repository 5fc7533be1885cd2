/** Where `save` and `export` put what arrives: stdout, or a file that appears when it is whole. */
import { closeSync, existsSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { invalid } from "#base";
import type { ApiResponse } from "#clients/api-client";

import { STDOUT, writeAll } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";

/**
 * Before the daemon is asked.
 * @param output "" for stdout
 * @param what of the sentence: `failed to save image: …`
 * @throws EngineError "invalid"
 */
export function checkOutput(output: string, what: string): void {
  if (output === "") {
    if (!isTerminal(STDOUT)) return;
    throw invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect");
  }
  const wrong = (reason: string) => invalid(`failed to ${what}: ${reason}`);
  const directory = dirname(output);
  if (!existsSync(directory)) {
    throw wrong(`invalid output path: stat ${directory}: no such file or directory`);
  }
  if (!existsSync(output)) return;
  if (statSync(output).isDirectory()) {
    throw wrong(`invalid output path: "${output}" must be a regular file`);
  }
}

export async function writeOutput(output: string, response: ApiResponse): Promise<void> {
  if (output === "") await copy(response, STDOUT);
  else await saveTo(output, response);
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
