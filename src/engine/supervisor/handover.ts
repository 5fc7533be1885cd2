/**
 * Upgrade by execve: the new binary becomes this very process, so children stay children. What it needs to go on is
 * handed over as descriptor numbers in a versioned message, in a memfd whose number is in the environment.
 *
 * Connections are not handed over: clients connect again, as after a crash. So an upgrade waits for a quiet moment
 * (nobody attached, nothing half-written, no birth under way) or is refused.
 */
import { readFileSync, writeSync } from "node:fs";

import { addressOf, allocate, attempt, checked, cstring, SyscallError } from "#linux/ffi";

import { closeDescriptor, setCloseOnExec } from "./descriptors.ts";
import type { ProcessKey } from "./protocol.ts";
import type { StreamHandles } from "./stdio.ts";

const VARIABLE = "NARU_HANDOVER";

export interface HandedProcess {
  readonly key: ProcessKey;
  readonly startTime: string;
  readonly handles: StreamHandles & { readonly pidfd: number };
  /** The beginning of a line whose end was not printed yet, in base64. */
  readonly unfinished: { readonly stdout: string; readonly stderr: string };
}

export interface Handover {
  readonly version: 1;
  readonly lock: number;
  readonly processes: readonly HandedProcess[];
}

const descriptorsOf = ({ lock, processes }: Handover): number[] => [
  lock,
  ...processes.flatMap(({ handles }) =>
    Object.values(handles).filter((descriptor): descriptor is number => descriptor !== null),
  ),
];

/**
 * Becomes `command`. Returns only by throwing: then nothing has changed.
 * @throws SyscallError
 */
export function becomeProgram(command: readonly string[], handover: Handover): never {
  const message = checked("memfd_create", "handover", cstring("naru-handover"), 0);
  writeSync(message, JSON.stringify(handover));
  const { BUN_OPTIONS: _options, BUN_BE_BUN: _beBun, ...environment } = process.env;
  environment[VARIABLE] = String(message);
  const argv = pointers(command);
  const envp = pointers(Object.entries(environment).map(([name, value]) => `${name}=${value}`));
  const descriptors = descriptorsOf(handover);
  for (const descriptor of descriptors) setCloseOnExec(descriptor, false);
  const path = command[0] ?? "";
  const failed = attempt("execve", cstring(path), argv.list, envp.list);
  for (const descriptor of descriptors) setCloseOnExec(descriptor, true);
  closeDescriptor(message);
  throw new SyscallError("execve", path, -failed);
}

/** What the program that this process was before has left; null at an ordinary start. */
export function takeHandover(): Handover | null {
  const number = process.env[VARIABLE];
  delete process.env[VARIABLE];
  if (number === undefined) return null;
  const message = Number(number);
  const handover: Handover = JSON.parse(readFileSync(`/proc/self/fd/${message}`, "utf8"));
  closeDescriptor(message);
  if (handover.version !== 1) throw new Error("a handover of another version");
  for (const descriptor of descriptorsOf(handover)) setCloseOnExec(descriptor, true);
  return handover;
}

/** A NULL-terminated array of C strings; both must be reachable until the call. */
function pointers(texts: readonly string[]): { list: Uint8Array; keep: Uint8Array[] } {
  const keep = texts.map((text) => cstring(text));
  const list = allocate((texts.length + 1) * 8);
  const view = new DataView(list.buffer);
  keep.forEach((text, index) => view.setBigUint64(index * 8, addressOf(text), true));
  return { list, keep };
}
