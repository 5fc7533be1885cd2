/** ADD of git repositories: a commit is the key, and it is fetched only on a miss. */
import { invalid } from "#base";
import { type GitCommit, type GitSource, parseGitUrl, resolveCommit } from "#engine/build/git";
import type { Instruction } from "#engine/build/dockerfile";

import { gitAccessOf, gitTree, type RemoteTree } from "./remote-tree.ts";
import type { BuildScope } from "./solver.ts";

export interface Repository {
  readonly written: string;
  readonly source: GitSource;
  readonly commit: GitCommit;
  readonly keepGitDir: boolean;
  /** What decides about the files. */
  readonly fact: string;
}

/** @throws EngineError "invalid" when a ref is not there, or is not what `--checksum` says */
export async function findRepositories(
  { request, signal }: BuildScope,
  instruction: Extract<Instruction, { kind: "copy" | "add" }>,
): Promise<Repository[]> {
  if (instruction.kind !== "add") return [];
  const { checksum, keepGitDirectory: keepGitDir } = instruction;
  const found: Repository[] = [];
  for (const written of instruction.sources) {
    const source = parseGitUrl(written);
    if (source === null) continue;
    const access = await gitAccessOf(request);
    const commit = await resolveCommit(source, { access, signal });
    if (checksum !== "" && !commit.id.startsWith(checksum)) {
      throw invalid(`expected checksum to match ${checksum}, got ${commit.id}`);
    }
    const fact = JSON.stringify(["git", commit.id, source.folder, keepGitDir]);
    found.push({ written, source, commit, keepGitDir, fact });
  }
  return found;
}

export const openRepository = async (
  { context, request }: BuildScope,
  { source, commit, keepGitDir }: Repository,
  signal: AbortSignal,
): Promise<RemoteTree> =>
  gitTree(context, source, { commit, keepGitDir, access: await gitAccessOf(request), signal });
