/**
 * What a Dockerfile wants scanned beside its result: `ARG BUILDKIT_SBOM_SCAN_STAGE` and `ARG BUILDKIT_SBOM_SCAN_CONTEXT`,
 * true or names of stages, before the first FROM for all stages or in one.
 * Source: docs.docker.com/build/metadata/attestations/sbom.
 */
import type { Digest } from "#oci";

import type { PlannedStage } from "./plan.ts";
import type { BuildScope } from "./solver.ts";
import type { StageState } from "./stage-state.ts";
import { layerOfTree } from "./tree-layer.ts";

const STAGE = "BUILDKIT_SBOM_SCAN_STAGE";
const CONTEXT = "BUILDKIT_SBOM_SCAN_CONTEXT";

/** @param states of the plan's stages, in its order. @returns layers by name, held by the build */
export async function scanExtras(
  scope: BuildScope,
  states: readonly StageState[],
): Promise<Map<string, readonly Digest[]>> {
  const extras = new Map<string, readonly Digest[]>();
  if (scope.request.isScanned !== true) return extras;
  const asks = (planned: PlannedStage, state: StageState | undefined, name: string): boolean =>
    isMeant(state?.args.get(name) ?? scope.globals[name] ?? "", nameOf(planned));
  const { stages } = scope.plan;
  if (stages.some((planned, at) => asks(planned, states[at], CONTEXT))) {
    const tree = await scope.arrived.tree();
    const layer = await layerOfTree(scope, tree, { nowSec: 0, latestSec: null });
    scope.own(() => scope.context.gc.release({ layers: [layer] }));
    extras.set("context", [layer]);
  }
  for (const [at, planned] of stages.slice(0, -1).entries()) {
    const state = states[at];
    if (state === undefined || !asks(planned, state, STAGE)) continue;
    await scope.ensure(state.layers, () => undefined);
    extras.set(nameOf(planned), state.layers);
  }
  return extras;
}

const nameOf = ({ stage, index }: PlannedStage): string =>
  stage.name === "" ? `stage-${index}` : stage.name;

/** Go's words for true and false; else a list of names. */
function isMeant(value: string, stage: string): boolean {
  if (/^(?:1|t|true)$/i.test(value)) return true;
  if (/^(?:0|f|false)?$/i.test(value)) return false;
  return value.split(",").includes(stage);
}
