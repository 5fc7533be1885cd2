/** A Dockerfile looked at without building: what it offers. */
import { parseDockerfile } from "#engine/build/dockerfile";
import { hostPlatform } from "#oci";

import { receiveContext } from "./arrival.ts";
import type { BuildRequest, DescribedDockerfile } from "./build-service.ts";
import type { Context } from "./context.ts";
import { Faults } from "./fault.ts";
import { globalArguments } from "./global-arguments.ts";
import { outlineOf, targetsOf } from "./outline.ts";
import { planBuild } from "./plan.ts";
import { tellFault } from "./solver.ts";

/** @throws EngineError "invalid" for a Dockerfile or a target that makes no sense */
export async function describe(
  context: Context,
  request: BuildRequest,
): Promise<DescribedDockerfile> {
  using arrived = await receiveContext(context, request);
  const { name, dockerfile: text } = arrived;
  await request.onEvent({ type: "source", name, text });
  try {
    const file = parseDockerfile(text);
    const { globals } = globalArguments(file, request, request.platform ?? hostPlatform());
    const { target, contexts, buildArgs } = request;
    const plan = planBuild(file, { target, globals, contexts });
    const outline = outlineOf(file, plan, { globals, buildArgs });
    return { name, text, targets: targetsOf(file), outline };
  } catch (cause) {
    await tellFault(request, arrived, new Faults().of(cause));
    throw cause;
  }
}
