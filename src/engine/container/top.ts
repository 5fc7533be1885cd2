/**
 * `docker top`: the host's ps, asked about the container's processes. The columns are whatever its arguments say,
 * so it is run as a person would run it, and its lines are kept by their pid column.
 */
import { conflict, invalid } from "#base";

import type { Context } from "./context.ts";
import { publishEvent } from "./happenings.ts";
import { cgroupOf } from "./signal.ts";

const DEFAULT_ARGUMENTS = "-ef";
const ARGUMENT = /^[\w=,:%+.-]{1,128}$/;
const TIMEOUT_MS = 10_000;

export async function listProcesses(
  context: Context,
  nameOrId: string,
  psArguments: string,
): Promise<{ titles: string[]; processes: string[][] }> {
  const record = context.records.resolve(nameOrId);
  const { id, state } = record;
  if (state.status === "restarting") {
    throw conflict(`Container ${id} is restarting, wait until the container is running`);
  }
  if (state.status !== "running" && state.status !== "paused") {
    throw conflict(`container ${id} is not running`);
  }
  const words = parseArguments(psArguments);
  const pids = cgroupOf(context, record).pids();
  const text = await runPs(words);
  publishEvent(context, record, "top");
  return selectProcesses(text, new Set(pids));
}

function parseArguments(text: string): string[] {
  const words = (text.trim() === "" ? DEFAULT_ARGUMENTS : text).trim().split(/\s+/);
  for (const word of words) {
    if (!ARGUMENT.test(word)) throw invalid(`invalid ps argument: ${word}`);
    if (word.includes("=")) {
      throw invalid(`Couldn't find PID field in ps output: the column is renamed by "${word}"`);
    }
  }
  return words;
}

async function runPs(words: readonly string[]): Promise<string> {
  const child = Bun.spawn(["ps", ...words], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: TIMEOUT_MS,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
  });
  const [text, complaint, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (code === 0) return text;
  throw invalid(`ps: ${complaint.trim().split("\n", 1)[0] ?? "failed"}`);
}

/** Pure: titles and rows of the wanted processes; the last column takes the rest of its line. */
export function selectProcesses(
  text: string,
  pids: ReadonlySet<number>,
): { titles: string[]; processes: string[][] } {
  const [head = "", ...lines] = text.split("\n");
  const titles = head.trim().split(/\s+/);
  const column = titles.indexOf("PID");
  if (column < 0) throw invalid("Couldn't find PID field in ps output");
  const processes: string[][] = [];
  for (const line of lines) {
    const fields = line.trim().split(/\s+/);
    if (!pids.has(Number(fields[column]))) continue;
    const last = titles.length - 1;
    processes.push([...fields.slice(0, last), fields.slice(last).join(" ")]);
  }
  return { titles, processes };
}
