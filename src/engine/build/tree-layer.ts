/** All that is in a tree as one layer. */
import { invalid } from "#base";
import type { SourceTree } from "#engine/build/source";
import type { Digest } from "#oci";

import { CopyPlan, type CopyTarget } from "./copy.ts";
import type { BuildScope } from "./solver.ts";

/** @returns the layer, held by the build */
export async function layerOfTree(
  { context, lease, signal }: Pick<BuildScope, "context" | "lease" | "signal">,
  tree: SourceTree,
  times: Pick<CopyTarget, "nowSec" | "latestSec">,
): Promise<Digest> {
  const plan = new CopyPlan({ root: null, ...times });
  const found = tree.find("", { follow: true });
  if (found === null) throw invalid("a named context is empty");
  const item = { tree, found, name: "", owner: null, mode: null, isExcluded: null, whole: false };
  await plan.add({ ...item, destination: "/" });
  using hold = context.gc.hold();
  void hold;
  const { diffId } = await context.layers.writeEntries({ entries: plan.entries, signal });
  lease.keep({ layers: [diffId] });
  return diffId;
}
