/** `naru run --explain`: the plan of a birth that does not happen. */
import { invalid } from "#base";

import { closeDescriptor, O_RDWR, openDescriptor } from "./descriptors.ts";
import { takeTrees } from "./lent-trees.ts";
import type { SupervisorParts } from "./parts.ts";
import type { ExplainMessage } from "./protocol.ts";
import { checkKey } from "./records.ts";

/** @throws EngineError "invalid" for a runtime whose births are another program's work */
export function explainBirth(
  { openDriver }: Pick<SupervisorParts, "openDriver">,
  message: ExplainMessage,
): string {
  checkKey({ id: message.id });
  const { id, spec, root, identity, init, stdio } = message;
  const driver = openDriver(message.runtime);
  if (driver.explain === undefined) {
    throw invalid(`the runtime ${message.runtime} does not tell what it does: use the native one`);
  }
  using lent = takeTrees(message.trees);
  // Only the numbers matter to a plan that nobody runs.
  const nowhere = openDescriptor("/dev/null", O_RDWR);
  try {
    return driver.explain({
      id,
      spec,
      root,
      identity,
      init,
      stdio:
        stdio.terminal === null
          ? { type: "pipes", stdin: nowhere, stdout: nowhere, stderr: nowhere }
          : { type: "terminal", ...stdio.terminal },
      scratch: "",
      ...(lent === null ? {} : { openTrees: lent.trees }),
      prepare: () => undefined,
    });
  } finally {
    closeDescriptor(nowhere);
  }
}
