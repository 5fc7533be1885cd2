/** A commit of a repository as a folder: found by its ref first, so that what is known need not be fetched. */
import { lstatSync, mkdirSync, realpathSync } from "node:fs";
import { lutimes, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { invalid } from "#base";

import { type GitAccess, type GitCall, runGit } from "./program.ts";
import type { GitSource } from "./url.ts";

export type { GitAccess };

export interface GitCommit {
  /** 40 or 64 hexadecimal digits. */
  readonly id: string;
  /** The whole ref it was found by; null when it was asked for by its id. */
  readonly ref: string | null;
}

const COMMIT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;

/** Which commit a ref means now. @throws EngineError "invalid" when the repository has none such, or another one */
export async function resolveCommit(
  source: GitSource,
  options: { access: GitAccess; signal: AbortSignal },
): Promise<GitCommit> {
  const commit = await commitOfRef(source, options);
  if (commit.id.startsWith(source.commit)) return commit;
  throw invalid(`expected checksum to match ${source.commit}, got ${commit.id}`);
}

async function commitOfRef(
  { remote, ref }: GitSource,
  options: { access: GitAccess; signal: AbortSignal },
): Promise<GitCommit> {
  if (COMMIT.test(ref)) return { id: ref, ref: null };
  const name = ref === "" ? "HEAD" : ref;
  const call: GitCall = { ...options, remote, folder: null };
  const listed = await runGit(["ls-remote", "--", remote, name, `${name}^{}`], call);
  const refs = new Map(
    listed.split("\n").map((line) => {
      const [id = "", full = ""] = line.split("\t");
      return [full, id] as const;
    }),
  );
  // A branch goes before a tag of its name; a tag's own object is not what it names.
  for (const full of [name, `refs/heads/${name}`, `refs/tags/${name}`, `refs/${name}`]) {
    const id = refs.get(`${full}^{}`) ?? refs.get(full);
    if (id !== undefined && COMMIT.test(id)) return { id, ref: full };
  }
  throw invalid(`repository does not contain ref ${name}`);
}

/**
 * Fetches a commit with its submodules.
 * @param request.folder a new one, only the daemon's
 * @returns the folder asked for inside it
 * @throws EngineError "invalid"
 */
export async function checkOut(
  source: GitSource,
  commit: GitCommit,
  request: { folder: string; keepGitDir: boolean; access: GitAccess; signal: AbortSignal },
): Promise<string> {
  const { folder, keepGitDir, access, signal } = request;
  const { remote } = source;
  const call: GitCall = { folder, remote, access, signal };
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  await runGit(["init", "--quiet", "."], call);
  await runGit(["remote", "add", "--", "origin", remote], call);
  await fetchCommit(commit, call);
  await runGit(["checkout", "--quiet", "--detach", commit.id, "--"], call);
  if (source.hasSubmodules) {
    await runGit(["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"], call);
  }
  const seconds = Number(await runGit(["log", "-1", "--format=%ct", commit.id], call));
  await rm(join(folder, ".git", "FETCH_HEAD"), { force: true });
  await tidy(folder, { keepGitDir, seconds });
  return folderIn(folder, source.folder);
}

async function fetchCommit({ id, ref }: GitCommit, call: GitCall): Promise<void> {
  const one = ref === null ? id : `${ref}:refs/naru/wanted`;
  try {
    await runGit(["fetch", "--quiet", "--no-tags", "--depth=1", "origin", one], call);
  } catch {
    call.signal.throwIfAborted();
    // Plain web servers know no part of a history, and some others give no commit by its id.
    const all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    await runGit(
      ["fetch", "--quiet", "--no-tags", "origin", ...(ref === null ? all : [one])],
      call,
    );
  }
}

/**
 * Files get the time of the commit: one commit gives the same layer whenever it is fetched. `.git` goes also in
 * submodules, where it is a file that would point to what is gone.
 */
async function tidy(
  folder: string,
  options: { readonly keepGitDir: boolean; readonly seconds: number },
): Promise<void> {
  const { keepGitDir, seconds } = options;
  if (!keepGitDir) await rm(join(folder, ".git"), { recursive: true, force: true });
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.name === ".git") continue;
    if (entry.isDirectory()) await tidy(path, options);
    await lutimes(path, seconds, seconds);
  }
  await lutimes(folder, seconds, seconds);
}

/** Links on the way may lead anywhere inside, and nowhere else. */
function folderIn(top: string, folder: string): string {
  if (folder === "") return top;
  try {
    const real = realpathSync(join(top, folder));
    const isInside = real === top || real.startsWith(`${realpathSync(top)}/`);
    if (isInside && lstatSync(real).isDirectory()) return real;
  } catch {
    // Said below.
  }
  throw invalid(`subdirectory ${folder} of the git repository could not be found`);
}
