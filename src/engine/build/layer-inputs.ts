/**
 * What was read from layers. Layers never change, so what one question found in them is known for ever: a warm build
 * reads nothing of other stages, and one whose cache comes from elsewhere need not even have them.
 */
import type { Digest } from "#oci";

import type { InputFile } from "./inputs.ts";
import type { StageBuilder } from "./stage-builder.ts";
import { keyOf } from "./steps.ts";

export interface Inputs {
  /** Of all that was read, hexadecimal. */
  readonly digest: string;
  readonly files: readonly InputFile[];
}

/** A question as a name. @param what everything that decides which files of the layers count */
export const questionOf = (layers: readonly Digest[], what: unknown): string =>
  keyOf({ facts: { layers: layers.join(), what: JSON.stringify(what) }, files: [] });

/**
 * The answer, if it is known. What another engine found only counts where it leads to a cached step: it can be wrong,
 * and then must not name a step that is made here.
 */
export function recallInputs(
  { scope }: StageBuilder,
  question: string,
  isCached: (digest: string) => boolean,
): Inputs | null {
  const own = scope.context.cache.input(question);
  const given = own === null ? scope.imports.input(question) : null;
  const known = own ?? (given !== null && isCached(given) ? { digest: given, files: [] } : null);
  if (known !== null) scope.taken.addInput(question, known.digest);
  return known;
}

export function rememberInputs({ scope }: StageBuilder, question: string, inputs: Inputs): void {
  const { cache, clock } = scope.context;
  cache.putInput(question, inputs, clock.now().getTime());
  scope.taken.addInput(question, inputs.digest);
}
