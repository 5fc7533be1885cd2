/** The stages, images and contexts that instructions read, and what ONBUILD leaves for later. Pure. */
import { fromOf, type Instruction, parseTrigger } from "#engine/build/dockerfile";

export interface FileSource {
  /** "" for the context. */
  readonly from: string;
  /** Of a mount. */
  readonly target: string | null;
}

/** The stages or images that an instruction reads. */
export function sourcesOf(instruction: Instruction): FileSource[] {
  if (instruction.kind === "copy") return [{ from: instruction.from, target: null }];
  if (instruction.kind !== "run") return [];
  return instruction.mounts.map((text) => {
    const [, target = ""] = /(?:^|,)(?:target|dst|destination)=([^,]*)/i.exec(text) ?? [];
    return { from: fromOf(text), target };
  });
}

/** The same of triggers; what is wrong with one is said when it is run. */
export const triggerSources = (triggers: readonly string[]): FileSource[] =>
  triggers.flatMap((text) => {
    try {
      return sourcesOf(parseTrigger(text));
    } catch {
      return [];
    }
  });
