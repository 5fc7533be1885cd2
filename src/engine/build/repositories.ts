/** ADD of git repositories: a commit is the key, and it is fetched only on a miss. */
import { invalid } from "#base";
import { type GitCommit, type GitSource, resolveCommit } from "#engine/build/git";
import type { Instruction } from "#engine/build/dockerfile";

import { gitAccessOf, gitTree, type RemoteTree } from "./remote-tree.ts";
import type { BuildScope } from "./solver.ts";
import { repositoryIn } from "./sources.ts";

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
  const { checksum } = instruction;
  const found: Repository[] = [];
  for (const written of instruction.sources) {
    const source = repositoryIn(written);
    if (source === null) continue;
    const keepGitDir = keepsGitDir(instruction, source);
    if (checksum !== "" && source.commit !== "" && checksum !== source.commit) {
      const [flag, query] = [checksum, source.commit].map((text) => JSON.stringify(text));
      throw invalid(`checksum mismatch ${flag} != ${query}`);
    }
    const access = await gitAccessOf(request);
    const commit = await resolveCommit(source, { access, signal });
    if (checksum !== "" && !commit.id.startsWith(checksum)) {
      throw invalid(`expected checksum to match ${checksum}, got ${commit.id}`);
    }
    const without = source.hasSubmodules ? [] : ["without submodules"];
    const fact = JSON.stringify(["git", commit.id, source.folder, keepGitDir, ...without]);
    found.push({ written, source, commit, keepGitDir, fact });
  }
  return found;
}

function keepsGitDir(
  { keepGitDirectory }: Extract<Instruction, { kind: "add" }>,
  { keepGitDir }: GitSource,
): boolean {
  if (keepGitDirectory && keepGitDir === false) {
    throw invalid("inconsistent keep-git-dir configuration");
  }
  return keepGitDir ?? keepGitDirectory;
}

export const openRepository = async (
  { context, request }: BuildScope,
  { source, commit, keepGitDir }: Repository,
  signal: AbortSignal,
): Promise<RemoteTree> =>
  gitTree(context, source, { commit, keepGitDir, access: await gitAccessOf(request), signal });
