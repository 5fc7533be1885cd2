/** What COPY and ADD may be told to read, before anything is looked for. Sentences are BuildKit's. */
import { invalid } from "#base";
import type { Instruction } from "#engine/build/dockerfile";
import { type GitSource, parseGitUrl } from "#engine/build/git";

import { isRemote } from "./download.ts";

/** @throws EngineError "invalid" */
export function checkSources(instruction: Extract<Instruction, { kind: "copy" | "add" }>): void {
  const { kind, sources } = instruction;
  const [first = "", ...others] = sources;
  if (kind === "add") {
    if (instruction.checksum === "") return;
    if (others.length > 0) throw invalid("checksum can't be specified for multiple sources");
    if (!isRemote(first) && !isRepository(first)) {
      throw invalid("checksum requires HTTP(S) or Git sources");
    }
    return;
  }
  for (const source of sources) {
    if (isRepository(source)) throw invalid("source can't be a git ref for COPY");
    if (isRemote(source)) throw invalid("source can't be a URL for COPY");
  }
}

/** `github.com/…` alone is the name of a folder. */
export const repositoryIn = (source: string): GitSource | null =>
  /^github\.com\//i.test(source) ? null : parseGitUrl(source);

const isRepository = (source: string): boolean => repositoryIn(source) !== null;
