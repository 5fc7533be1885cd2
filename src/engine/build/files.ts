/** COPY and ADD: sources found, digested, and on a miss planned and written as one layer. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { invalid, newId, sentenceOf } from "#base";
import { expandHeredoc, type Instruction } from "#engine/build/dockerfile";
import { isPattern, PatternMatcher } from "#wire/ignore";
import { type ArchiveTree, EMPTY_TREE, type RootTree, type SourceTree } from "#engine/build/source";
import { resolveIdentity } from "#engine/runtime";
import type { Digest } from "#oci";
import { rawOf, textOf } from "#wire/tar";

import { archiveIn } from "./archives.ts";
import { collectAfter } from "./collect.ts";
import { CopyPlan, type FileMode, type Owner } from "./copy.ts";
import { type Download, fetchSource, isRemote } from "./download.ts";
import { InputDigest, type Match, matchSources } from "./inputs.ts";
import { checkSources } from "./sources.ts";
import { type Inputs, questionOf, recallInputs, rememberInputs } from "./layer-inputs.ts";
import { parseMode } from "./mode.ts";
import { findRepositories, openRepository, type Repository } from "./repositories.ts";
import { type FromFiles, filesFrom } from "./run.ts";
import { rootOf } from "./run-mounts.ts";
import { type LayerStep, parentFact, type StageBuilder } from "./stage-builder.ts";
import { environmentOf, type StageState } from "./stage-state.ts";
import { absolutePath } from "./workdir.ts";

/** Of all heredocs of an instruction: they are held in memory. */
const HEREDOCS_LIMIT = 32 * 1024 * 1024;

type Files = Extract<Instruction, { kind: "copy" | "add" }>;

interface Source extends Match {
  readonly written: string;
}

interface Gathered {
  readonly tree: SourceTree;
  readonly matches: readonly Source[];
  readonly downloads: readonly Download[];
  readonly repositories: readonly Repository[];
  readonly heredocs: readonly { readonly name: string; readonly content: string }[];
}

export async function copyFiles(
  builder: StageBuilder,
  state: StageState,
  written: Files,
): Promise<LayerStep> {
  const instruction = expanded(builder, state, written);
  const { kind, destination, chmod } = instruction;
  checkSources(instruction);
  const mode = parseMode(chmod);
  const isExcluded = excluder(instruction.exclude);
  const place = rawOf(absolutePath(destination, state, true));
  const from = kind === "copy" ? instruction.from : "";
  const files = from === "" ? contextFiles(builder) : await filesFrom(builder, from);
  const factsOf = (digest: string) => copyFacts(builder, state, { instruction, place, digest });
  const gatherAll = () => gather(builder, state, instruction, files);
  const question = questionAbout(instruction, files);
  const known =
    question === null
      ? null
      : recallInputs(builder, question, (digest) =>
          builder.isCached({ facts: factsOf(digest), files: [] }),
        );
  const gathered = known === null ? await gatherAll() : null;
  const keepsOwner = files.layers !== null;
  const inputs = known ?? (await inputsOf(instruction, gathered, { isExcluded, keepsOwner }));
  if (known === null && question !== null) rememberInputs(builder, question, inputs);
  const sources = [...instruction.sources, ...instruction.heredocs.map(({ name }) => `<<${name}`)];
  return {
    description: written.original,
    createdBy: `${kind.toUpperCase()} ${flagText(instruction)}${sources.join(" ")} ${destination} # buildkit`,
    reads: { facts: factsOf(inputs.digest), files: inputs.files },
    make: async (signal) => {
      const all = gathered ?? (await gatherAll());
      const settings = { place, mode, isExcluded, keepsOwner };
      const order = { state, instruction, gathered: all, ...settings, signal };
      return await write(builder, order);
    },
  };
}

const contextFiles = ({ scope }: StageBuilder): FromFiles => ({
  layers: null,
  tree: (sources) => scope.arrived.tree(sources),
});

/** What decides about a copy's layer. */
function copyFacts(
  { scope }: StageBuilder,
  state: StageState,
  { instruction, place, digest }: { instruction: Files; place: string; digest: string },
): Record<string, string> {
  const { kind, chown, chmod, link, exclude } = instruction;
  const keepOwner = kind === "add" && instruction.unpack !== false;
  const option = kind === "copy" ? instruction.parents : instruction.unpack;
  return {
    // Names of owners are the stage's own: with them a layer that stands on nothing hangs on what it stands on.
    parent: link && !/[^\d:]/.test(chown) ? "link" : parentFact(state),
    instruction: JSON.stringify([kind, place, chown, chmod, link, exclude]),
    options: JSON.stringify([option, keepOwner]),
    files: digest,
    ...(scope.epochSec === null ? {} : { epoch: String(scope.epochSec) }),
  };
}

/** What is asked of another stage's layers; null where something else counts too. */
function questionAbout(instruction: Files, { layers }: FromFiles): string | null {
  if (layers === null || instruction.kind !== "copy" || instruction.heredocs.length > 0)
    return null;
  const { sources, exclude, parents } = instruction;
  return questionOf(layers, ["copy with owners", sources, exclude, parents]);
}

async function inputsOf(
  { kind }: Files,
  gathered: Gathered | null,
  { isExcluded, keepsOwner }: Pick<WriteRequest, "isExcluded" | "keepsOwner">,
): Promise<Inputs> {
  const digest = new InputDigest();
  if (gathered === null) throw new Error(`broken invariant: what ${kind} reads was looked at`);
  for (const { found, name, parents } of gathered.matches) {
    const as =
      found.node.type === "directory" ? parents : [parents, name].filter(Boolean).join("/");
    await digest.add(gathered.tree, found, { as, isExcluded, keepOwner: keepsOwner });
  }
  for (const { name, content } of gathered.heredocs) digest.text(`${name}\n${content}`);
  for (const { fact } of gathered.repositories) digest.text(fact);
  for (const { name, digest: known } of gathered.downloads) digest.text(`${name}\n${known}`);
  return { digest: digest.hex(), files: digest.files };
}

/** The flags that Docker's history tells. */
function flagText(files: Files): string {
  const { chown, chmod } = files;
  const flags = [
    files.kind === "copy" && files.parents ? "--parents " : "",
    chown === "" ? "" : `--chown=${chown} `,
    chmod === "" ? "" : `--chmod=${chmod} `,
  ];
  return flags.join("");
}

function expanded(builder: StageBuilder, state: StageState, instruction: Files): Files {
  const { one: expand } = builder.expander(state);
  return {
    ...instruction,
    sources: instruction.sources.map(expand),
    destination: expand(instruction.destination),
    chown: expand(instruction.chown),
    chmod: expand(instruction.chmod),
    ...(instruction.kind === "add" ? { checksum: expand(instruction.checksum) } : {}),
  };
}

function excluder(patterns: readonly string[]): ((path: string) => boolean) | null {
  if (patterns.length === 0) return null;
  const matcher = new PatternMatcher(patterns);
  return (path) => matcher.matches(textOf(path));
}

/** @throws EngineError "invalid" for what is not there, or cannot be copied where it shall */
async function gather(
  builder: StageBuilder,
  state: StageState,
  instruction: Files,
  files: FromFiles,
): Promise<Gathered> {
  const { scope } = builder;
  const name = instruction.kind.toUpperCase();
  const parents = instruction.kind === "copy" && instruction.parents;
  const repositories = await findRepositories(scope, instruction);
  const isGit = new Set(repositories.map(({ written }) => written));
  const others = instruction.sources.filter((source) => !isGit.has(source));
  const remote = instruction.kind === "add" ? others.filter(isRemote) : [];
  const local = others.filter((source) => !remote.includes(source));
  // A client's folder is asked for only when something of it is read.
  const tree = local.length > 0 ? await files.tree(local) : EMPTY_TREE;
  const asked = { parents, name, isBuildKit: (scope.request.dialect ?? "buildkit") === "buildkit" };
  const matches = local.flatMap((written) =>
    matchSources(tree, written, asked).map((match) => ({ ...match, written })),
  );
  const environment = environmentOf(state);
  const heredocs = instruction.heredocs.map(({ name: file, content, chomp, expand }) => {
    const text = chomp ? content.replaceAll(/^\t+/gm, "") : content;
    return { name: file, content: expand ? expandHeredoc(text, environment).text : text };
  });
  const written = heredocs.reduce((sum, { content }) => sum + content.length, 0);
  if (written > HEREDOCS_LIMIT) throw invalid(`more than ${HEREDOCS_LIMIT} characters come of it`);
  const downloads: Download[] = [];
  for (const url of remote) {
    const checksum = instruction.kind === "add" ? instruction.checksum : "";
    downloads.push(await fetchSource(scope, url, checksum));
  }
  return { tree, matches, heredocs, downloads, repositories };
}

interface WriteRequest {
  readonly state: StageState;
  readonly instruction: Files;
  readonly gathered: Gathered;
  /** A byte string. */
  readonly place: string;
  readonly mode: FileMode | null;
  readonly isExcluded: ((path: string) => boolean) | null;
  /** What another stage has belongs to whom it belongs to there. */
  readonly keepsOwner: boolean;
  readonly signal: AbortSignal;
}

async function write(builder: StageBuilder, request: WriteRequest): Promise<Digest> {
  const { scope } = builder;
  const { state, instruction, gathered, place, mode, signal } = request;
  const { context } = scope;
  using root = rootOf(context, state.layers);
  const chown = ownerOf(root, instruction.chown);
  const owner = chown ?? { uid: 0, gid: 0 };
  const plan = new CopyPlan({
    root: instruction.link ? null : root,
    nowSec: builder.nowSec,
    latestSec: scope.epochSec,
    ...(scope.request.dialect === "classic"
      ? { refusesSecond: instruction.kind.toUpperCase() }
      : {}),
  });
  const scratch = join(context.paths.data, "scratch", newId());
  using opened = new DisposableStack();
  try {
    for (const match of gathered.matches) {
      const archive = await unpackable(request, match, scratch);
      if (archive !== null) await addArchive(plan, archive, { place, owner: chown, request });
      else await addMatch(plan, match, { owner: request.keepsOwner ? chown : owner, request });
    }
    await addRepositories(plan, builder, { request, owner: chown, opened });
    addMade(plan, builder, { gathered, place, owner, mode });
    await addDownloads(plan, builder, { request, owner: chown, scratch });
    collectAfter(plan.size);
    const { diffId } = await context.layers.writeEntries({ entries: plan.drain(), signal });
    return diffId;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** ADD of an archive of the context: its tree; null for all else. */
async function unpackable(
  { instruction, gathered, signal }: WriteRequest,
  { found }: Match,
  scratch: string,
): Promise<ArchiveTree | null> {
  if (instruction.kind !== "add" || instruction.unpack === false) return null;
  if (found.node.type !== "file") return null;
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  return await archiveIn(gathered.tree, found, { scratch, signal });
}

async function addArchive(
  plan: CopyPlan,
  tree: ArchiveTree,
  options: { place: string; owner: Owner | null; request: WriteRequest },
): Promise<void> {
  const found = tree.find("", { follow: true });
  if (found === null) return;
  const { place: destination, owner, request } = options;
  const { mode, isExcluded } = request;
  const item = { tree, found, name: "", destination, owner, mode, isExcluded, whole: false };
  await plan.add({ ...item, keepsTime: true });
}

async function addMatch(
  plan: CopyPlan,
  { found, name, parents }: Match,
  { owner, request }: { owner: Owner | null; request: WriteRequest },
): Promise<void> {
  const { instruction, gathered, place, mode, isExcluded } = request;
  const { tree } = gathered;
  const whole = instruction.kind === "copy" && instruction.parents;
  const destination = whole ? `${place}/${parents}/` : place;
  const item = { tree, found, name, destination, owner, mode, isExcluded, whole, parents };
  // The top of a context is nobody's folder: it has no time.
  await plan.add({ ...item, keepsTime: found.path === "" && !request.keepsOwner });
}

/** Heredocs: files that the Dockerfile itself holds. */
function addMade(
  plan: CopyPlan,
  builder: StageBuilder,
  options: { gathered: Gathered; place: string; owner: Owner; mode: FileMode | null },
): void {
  const { gathered, place, owner, mode } = options;
  for (const { name, content } of gathered.heredocs) {
    const bytes = new TextEncoder().encode(content);
    const file = {
      ...owner,
      mode: mode === null ? 0o644 : mode.of(0o644, false),
      mtimeSec: builder.nowSec,
      sizeBytes: bytes.length,
      data: { kind: "bytes", bytes },
    } as const;
    plan.addFile({ destination: place, name: rawOf(name) }, file, mode);
  }
}

async function addDownloads(
  plan: CopyPlan,
  builder: StageBuilder,
  options: { request: WriteRequest; owner: Owner | null; scratch: string },
): Promise<void> {
  const { request, owner, scratch } = options;
  const { instruction, gathered, place, mode, signal } = request;
  for (const download of gathered.downloads) {
    if (instruction.kind === "add" && instruction.unpack === true) {
      mkdirSync(scratch, { recursive: true, mode: 0o700 });
      const tree = await archiveIn(download.tree, download.found, { scratch, signal });
      if (tree === null)
        throw invalid(`ADD failed: ${download.url} is no archive that can be unpacked`);
      await addArchive(plan, tree, { place, owner, request });
      continue;
    }
    const { found, mtimeSec } = download;
    const file = {
      ...(owner ?? { uid: 0, gid: 0 }),
      mode: mode === null ? 0o600 : mode.of(0o600, false),
      mtimeSec: mtimeSec ?? builder.nowSec,
      sizeBytes: found.node.sizeBytes,
      data: found.node.data,
    };
    plan.addFile({ destination: place, name: rawOf(download.name) }, file, mode);
  }
}

async function addRepositories(
  plan: CopyPlan,
  builder: StageBuilder,
  options: { request: WriteRequest; owner: Owner | null; opened: DisposableStack },
): Promise<void> {
  const { request, owner, opened } = options;
  const { gathered, place: destination, mode, isExcluded, signal } = request;
  for (const repository of gathered.repositories) {
    const { tree } = opened.use(await openRepository(builder.scope, repository, signal));
    const found = tree.find("", { follow: true });
    if (found === null) continue;
    const item = { tree, found, name: "", destination, mode, isExcluded, whole: false };
    await plan.add({ ...item, owner: owner ?? { uid: 0, gid: 0 }, keepsTime: true });
  }
}

/** `--chown`: names from the stage's own files; a number alone is also the group. */
function ownerOf(root: RootTree, chown: string): Owner | null {
  if (chown === "") return null;
  if (isPattern(chown) || chown.split(":").length > 2) throw invalid(`invalid chown ${chown}`);
  const user = /^\d+$/.test(chown) ? `${chown}:${chown}` : chown;
  try {
    const { uid, gid } = resolveIdentity(root.fd, { user, groups: [] });
    return { uid, gid };
  } catch (cause) {
    const why = sentenceOf(cause);
    // BuildKit takes root for whom it does not find, which nobody has asked for.
    const [, kind = "", name = ""] =
      /^unable to find (user|group) (.*?): no matching/.exec(why) ?? [];
    const said =
      kind === ""
        ? why
        : `can't find ${kind === "user" ? "uid" : "gid"} for ${kind} ${name}: no such ${kind}: ${name}`;
    throw invalid(`unable to convert uid/gid chown string to host mapping: ${said}`, { cause });
  }
}
