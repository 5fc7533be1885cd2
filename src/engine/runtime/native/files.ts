/** Steps that find and make files inside a container's root, through descriptors only. */
import {
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  S_IFREG,
} from "#linux/path";

import type { Argument, PlanWriter, StepOptions } from "./plan.ts";

/** The root a path is resolved below: a slot with the descriptor, or the register that holds it. */
export type Root = { readonly slot: string } | { readonly register: string };

const hows = new Map<string, Argument>();

/** struct open_how, for openat2. */
export function openHow(flags: number, resolve: number): Argument {
  const key = `${flags} ${resolve}`;
  const known = hows.get(key);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(flags | O_CLOEXEC), true);
  view.setBigUint64(16, BigInt(resolve), true);
  const how = { bytes };
  hows.set(key, how);
  return how;
}

export interface OpenStep extends StepOptions {
  readonly root: Root;
  readonly path: string;
  /** O_PATH unless told otherwise. */
  readonly flags?: number;
  /** RESOLVE_*, besides staying in the root and no magic links. */
  readonly resolve?: number;
  readonly result: string;
}

/** Opens a path as a process of the root would see it. */
export function openStep(writer: PlanWriter, step: OpenStep): void {
  const { root, path, flags = O_PATH, resolve = 0, ...options } = step;
  const how = openHow(flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve);
  writer.call("openat2", [root, { text: path }, how, 24], `open ${path} inside the root`, options);
}

const partsOf = (path: string): string[] =>
  path.split("/").filter((part) => part !== "" && part !== ".");

/** The directory part and the last name of a path inside a root. */
export function splitPath(path: string): { parent: string; name: string } {
  const parts = partsOf(path);
  return { name: parts.pop() ?? "", parent: `/${parts.join("/")}` };
}

export interface TargetStep {
  readonly root: Root;
  readonly path: string;
  readonly directory: boolean;
  /** Gets an O_PATH descriptor of the target. */
  readonly result: string;
  readonly resolve?: number;
}

/**
 * Opens a mount's target; what is missing is made, one name at a time below a descriptor that was just
 * resolved inside the root, so a link planted meanwhile leads nowhere else.
 */
export function targetStep(writer: PlanWriter, target: TargetStep): void {
  const { root, path, directory, result, resolve = 0 } = target;
  openStep(writer, { root, path, result, resolve, allow: ["ENOENT"] });
  writer.ifFailed(result, `${path} exists already`, () => {
    const parts = partsOf(path);
    const names = directory ? parts : parts.slice(0, -1);
    let parent: Argument = root;
    names.forEach((name, index) => {
      // Two registers in turn: the directory in hand, and the one below it.
      const next = `folder${index % 2}`;
      const below = `/${parts.slice(0, index + 1).join("/")}`;
      const open = { root, path: below, flags: O_PATH | O_DIRECTORY, resolve, result: next };
      const above = parent;
      openStep(writer, { ...open, allow: ["ENOENT"] });
      writer.ifFailed(next, `${below} exists already`, () => {
        writer.call("mkdirat", [above, { text: name }, 0o755], `make the directory ${below}`, {
          allow: ["EEXIST"],
        });
        openStep(writer, open);
      });
      parent = { register: next };
    });
    const last = parts.at(-1);
    if (!directory && last !== undefined) {
      const made = [parent, { text: last }, S_IFREG | 0o755, 0];
      writer.call("mknodat", made, `make the file ${path}`, { allow: ["EEXIST"] });
    }
    openStep(writer, { root, path, result, resolve });
  });
}
