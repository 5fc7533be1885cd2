/**
 * Scanners: the program of an image looks at what a build made, and writes what is in it (`--sbom`).
 *
 *   /run/src/core/sbom       the result, BUILDKIT_SCAN_SOURCE
 *   /run/src/extras/sbom-*   stages and the context that the Dockerfile names, BUILDKIT_SCAN_SOURCE_EXTRAS
 *   /run/out/                one in-toto statement a file, BUILDKIT_SCAN_DESTINATION
 *
 * What it writes is kept as a layer of the cache: one scanner, looking at the same files, is not run twice.
 * Source: moby/buildkit, docs/attestations/sbom-protocol.md.
 */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { invalid, sentenceOf } from "#base";
import { type Digest, hostPlatform, isObject } from "#oci";
import { textOf } from "#wire/tar";

import { bringImage, materialOf } from "./base-image.ts";
import type { BuildRequest, Scan, Scanned, ScanRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { bytesIn } from "./file-bytes.ts";
import { printer } from "./printer.ts";
import { failedStep, withProcessLimit } from "./run.ts";
import { rootOf, StepMounts } from "./run-mounts.ts";
import { withEnvironment } from "./stage-state.ts";
import { takeStep } from "./steps.ts";

const CORE = "sbom";
const SOURCES = "/run/src";
const DESTINATION = "/run/out/";
const FILE_LIMIT = 64;
const FILE_LIMIT_BYTES = 64 * 1024 * 1024;

/** What is looked at; all of it is here, and held. */
export interface ScannedThings {
  readonly layers: readonly Digest[];
  /** By name. */
  readonly extras: ReadonlyMap<string, readonly Digest[]>;
}

/** @throws EngineError, StepFailed for a scanner that ended badly */
export async function scan(
  context: Context,
  { things, build }: { readonly things: ScannedThings; readonly build: BuildRequest },
  asked: ScanRequest,
): Promise<Scanned> {
  const lease = context.gc.lease();
  using held = lease;
  void held;
  const { pull } = build;
  const { signal, credentials } = asked;
  const image = await bringImage(context, { pull, credentials, signal }, asked.image, {
    platform: hostPlatform(),
    onProgress: () => undefined,
  });
  lease.keep({ layers: image.config.rootfs.diff_ids, blobs: [image.id] });
  const { Entrypoint: entrypoint, Cmd: words } = image.config.config ?? {};
  const command = [...(entrypoint ?? []), ...(words ?? [])];
  if (command.length === 0) throw invalid(`scanner ${asked.image} does not have cmd`);
  const facts = {
    scanner: image.id,
    core: things.layers.join(),
    extras: JSON.stringify([...things.extras]),
    parameters: JSON.stringify(
      Object.entries(asked.parameters).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
  };
  const { key, layer } = await takeStep(context, {
    slot: `sbom ${asked.image}`,
    description: `generating sbom using ${asked.image}`,
    parent: "",
    reads: { facts, files: [] },
    noCache: build.noCache,
    alone: false,
    imported: () => null,
    make: (until) => run(context, { things, build, asked, image: image.config, command, until }),
    signal,
    lease,
    onCache: async (hit) => {
      if (hit) asked.onCached();
    },
  });
  if (layer === null) throw new Error("broken invariant: a scan is a layer");
  try {
    return { scans: await read(context, layer), scanner: materialOf(asked.image, image) };
  } catch (cause) {
    // What cannot be read is asked for again the next time.
    context.cache.delete([key]);
    lease[Symbol.dispose]();
    context.gc.release({ layers: [layer] });
    throw cause;
  }
}

interface Running {
  readonly things: ScannedThings;
  readonly build: BuildRequest;
  readonly asked: ScanRequest;
  readonly image: { readonly rootfs: { readonly diff_ids: readonly Digest[] }; config?: RunConfig };
  readonly command: readonly string[];
  readonly until: AbortSignal;
}
interface RunConfig {
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
}

/** @returns what the scanner wrote, as a layer */
async function run(context: Context, running: Running): Promise<Digest> {
  const { things, build, asked, image, command, until } = running;
  await using prepared = new StepMounts(context);
  prepared.addTmpfs("/tmp");
  prepared.addLayers(things.layers, `${SOURCES}/core/${CORE}`);
  for (const [name, layers] of things.extras) {
    prepared.addLayers(layers, `${SOURCES}/extras/${CORE}-${name}`);
  }
  const written = prepared.addFolder(DESTINATION);
  const { id } = prepared;
  const lease = context.gc.lease();
  lease.keep({ snapshots: [id] });
  try {
    const ended = await context.containers.runStep({
      id,
      snapshot: id,
      layers: image.rootfs.diff_ids,
      command,
      environment: environmentOf(running),
      user: "",
      workingDirectory: image.config?.WorkingDir || "/",
      hostname: "buildkitsandbox",
      network: build.network,
      mounts: prepared.mounts,
      privileged: false,
      devices: [],
      host: withProcessLimit(build.host),
      onOutput: printer(asked.onOutput),
      terminal: null,
      signal: until,
    });
    await ended.released;
    if (ended.exitCode !== 0) throw failedStep(command, ended);
    checkWritten(written);
    return (await context.layers.writeUpper({ upper: written, signal: until })).diffId;
  } finally {
    await context.snapshots.remove(id);
    lease[Symbol.dispose]();
  }
}

function environmentOf({ things, asked, image }: Running): string[] {
  const extras = things.extras.size === 0 ? [] : [["SOURCE_EXTRAS", `${SOURCES}/extras/`]];
  const told = [
    ["DESTINATION", DESTINATION],
    ["SOURCE", `${SOURCES}/core/${CORE}`],
    ...extras,
    ...Object.entries(asked.parameters),
  ];
  const pairs = told.map(([name = "", value = ""]) => ({ name: `BUILDKIT_SCAN_${name}`, value }));
  return withEnvironment(image.config?.Env ?? [], pairs);
}

/** Before it is kept. @throws EngineError "invalid" for what no scanner has to say */
function checkWritten(folder: string): void {
  const names = readdirSync(folder);
  if (names.length > FILE_LIMIT) throw invalid("too many files of a scanner");
  for (const name of names) {
    const stat = lstatSync(join(folder, name));
    if (!stat.isFile()) throw invalid(`${name} of a scanner is no file`);
    if (stat.size > FILE_LIMIT_BYTES) throw invalid(`${name} of a scanner is too large`);
  }
}

/** Every file is a statement; the result's own comes first. */
async function read(context: Context, layer: Digest): Promise<Scan[]> {
  using root = rootOf(context, [layer]);
  const names = root.list("").toSorted((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const scans: Scan[] = [];
  for (const name of names) {
    const node = root.at(name);
    const fileName = textOf(name);
    if (node?.type !== "file") throw invalid(`${fileName} of a scanner is no file`);
    scans.push(statementIn(fileName, await new Response(bytesIn(node)).text()));
  }
  return scans;
}

const rank = (name: string): number => (name.split(".")[0] === CORE ? 0 : 1);

function statementIn(fileName: string, text: string): Scan {
  let statement: unknown;
  try {
    statement = JSON.parse(text);
  } catch (cause) {
    throw invalid(`cannot decode in-toto statement: ${fileName}: ${sentenceOf(cause)}`, { cause });
  }
  if (!isObject(statement)) throw invalid(`cannot decode in-toto statement: ${fileName}`);
  const { predicateType, predicate = null, subject } = statement;
  if (typeof predicateType !== "string" || predicateType === "") {
    throw invalid(`cannot decode in-toto statement: ${fileName}: it has no predicate type`);
  }
  // What a build was made from is for the engine to say.
  if (predicateType.startsWith("https://slsa.dev/provenance/")) {
    throw invalid("frontend may not bundle provenance attestations");
  }
  const subjects = Array.isArray(subject) ? subject.filter(isObject) : [];
  return { fileName, predicateType, predicate, subjects };
}
