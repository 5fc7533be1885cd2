/** WORKDIR: the config says where, and a layer of its own makes the folder, or is empty where that is there. */
import type { LayerEntry } from "#engine/layer";
import { resolveIdentity } from "#engine/runtime";
import type { Digest } from "#oci";
import { rawOf } from "#wire/tar";

import { CopyPlan } from "./copy.ts";
import { rootOf } from "./run-mounts.ts";
import { type LayerStep, parentFact, type StageBuilder } from "./stage-builder.ts";
import type { StageState } from "./stage-state.ts";

export function makeWorkingDirectory(
  builder: StageBuilder,
  state: StageState,
  written: string,
): LayerStep {
  const { context, epochSec } = builder.scope;
  const asked = builder.expand(state, written);
  const path = absolutePath(asked, state);
  const createdBy = `WORKDIR ${path}`;
  const user = state.config.User ?? "";
  const facts = {
    parent: parentFact(state),
    directory: path,
    user,
    ...(epochSec === null ? {} : { epoch: String(epochSec) }),
  };
  return {
    description: createdBy,
    createdBy,
    change: { config: { ...state.config, WorkingDir: path } },
    reads: { facts, files: [] },
    make: async (signal) => {
      if (path === "/") return null;
      const write = async (entries: readonly LayerEntry[]): Promise<Digest> =>
        (await context.layers.writeEntries({ entries, signal })).diffId;
      using root = rootOf(context, state.layers);
      const there = root.find(rawOf(path), { follow: true });
      // As with BuildKit: a layer with nothing in it.
      if (there?.node.type === "directory") return await write([]);
      const owner = user === "" ? null : resolveIdentity(root.fd, { user, groups: [] });
      const plan = new CopyPlan({ root, nowSec: builder.nowSec, latestSec: null });
      plan.folder(rawOf(path), owner === null ? null : { uid: owner.uid, gid: owner.gid }, null);
      return await write(plan.entries);
    },
  };
}

/** A path of the stage's, clean, with its slash at the end kept where `keepSlash` says so. */
export function absolutePath(path: string, { config }: StageState, keepSlash = false): string {
  const base = path.startsWith("/") ? "" : `${config.WorkingDir ?? "/"}/`;
  const parts: string[] = [];
  for (const part of `${base}${path}`.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  const asksForFolder = keepSlash && /(?:^|\/)\.?$/.test(path);
  return `/${parts.join("/")}${asksForFolder && parts.length > 0 ? "/" : ""}`;
}
