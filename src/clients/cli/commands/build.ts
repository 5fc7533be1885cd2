/** `naru build`. */
import { rmSync, writeFileSync } from "node:fs";

import { invalid, sentenceOf } from "#base";
import { type ApiClient, buildImage } from "#clients/api-client";
import type { AuthConfig, BuildEventMessage, BuildMessage } from "#wire/docker";

import { checkView } from "../build/check-view.ts";
import { buildFlags } from "../build/flags.ts";
import { type CacheEntry, parseCacheEntry } from "../build/cache-options.ts";
import { uploadOf } from "../build/incremental.ts";
import { sendPiece, takeCache } from "../build/local-cache.ts";
import { type NamedContexts, readNamedContexts, sendNamed } from "../build/named-contexts.ts";
import { liveView } from "../build/live-view.ts";
import { checkOutputs, type Output, parseOutput, writeOutputs } from "../build/output.ts";
import { plainView, rawView } from "../build/plain-view.ts";
import { BuildFailed, BuildProgress, type BuildView, failureText } from "../build/progress.ts";
import { buildQuery } from "../build/query.ts";
import { readSecrets } from "../build/secrets.ts";
import { openAgents } from "../build/ssh-keys.ts";
import { openSource, type Source } from "../build/source.ts";
import { visitFailed } from "../build/visit.ts";
import { credentialsFor } from "../config/credentials.ts";
import { proxyVariables } from "../config/proxies.ts";
import type { Session } from "../config/session.ts";
import type { Flags } from "../flags/spec.ts";
import { printLine, STDERR, STDIN, STDOUT, warn, writeAll } from "../terminal/stdio.ts";
import { isTerminal, restoreTerminals, windowSize } from "../terminal/tty.ts";
import { type Command, ExitError } from "./command.ts";

const DEFAULT_SIZE = { rows: 24, columns: 80 };

export const build: Command = {
  flags: buildFlags,
  async run({ flags, args, session }) {
    const [context = ""] = args;
    const outputs = flags.list("output").map(parseOutput);
    checkOutputs(outputs);
    const named = readNamedContexts(flags.list("build-context"));
    const caches = {
      cacheFrom: flags.list("cache-from").map(parseCacheEntry),
      cacheTo: flags.list("cache-to").map(parseCacheEntry),
    };
    const iidFile = flags.string("iidfile");
    // A file of an earlier build must not be taken for this one's.
    if (iidFile !== "") rmSync(iidFile, { force: true });
    if (flags.string("on-fail") === "shell" && !(isTerminal(STDIN) && isTerminal(STDOUT))) {
      throw invalid("--on-fail shell needs a terminal: the input device is not a TTY");
    }
    const client = await session.client();
    const source = await openSource(context, flags.string("file"));
    const tags = [...flags.list("tag"), ...outputs.flatMap(namesOf)];
    try {
      const { id, findings } = await runBuild({
        client,
        session,
        flags,
        source,
        tags,
        caches,
        named,
      });
      if (id === null) return findings === 0 ? 0 : 1;
      if (iidFile !== "") writeFileSync(iidFile, id);
      writeMetadata(flags.string("metadata-file"), id, tags);
      await writeOutputs(client, outputs, { id, names: tags });
      if (isQuiet(flags)) printLine(id);
      return 0;
    } catch (cause) {
      if (!(cause instanceof BuildFailed)) throw cause;
      throw new ExitError(cause.exitCode, `ERROR: ${cause.message}`);
    } finally {
      if (source.kind === "folder") source.tree[Symbol.dispose]();
    }
  },
};

const namesOf = (output: Output): readonly string[] =>
  output.type === "image" ? output.names : [];

const isQuiet = (flags: Flags): boolean =>
  flags.bool("quiet") || flags.string("progress") === "quiet";

/** What the engine asked for, on the way through gzip. */
function gzipped({ archive }: { archive: AsyncIterable<Uint8Array> | undefined }) {
  if (archive === undefined) return undefined;
  const pieces = archive[Symbol.asyncIterator]();
  const plain = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done === true) controller.close();
      else controller.enqueue(new Uint8Array(value));
    },
    cancel: async () => void (await pieces.return?.()),
  });
  return plain.pipeThrough(new CompressionStream("gzip"));
}

interface Work {
  readonly client: ApiClient;
  readonly session: Session;
  readonly flags: Flags;
  readonly source: Source;
  readonly tags: readonly string[];
  readonly caches: Caches;
  readonly named: NamedContexts;
}

interface Caches {
  readonly cacheFrom: readonly CacheEntry[];
  readonly cacheTo: readonly CacheEntry[];
}

async function runBuild(work: Work): Promise<{ id: string | null; findings: number }> {
  const { client, session, flags, source, caches, named } = work;
  const progress = new BuildProgress();
  using agents = await openAgents(flags.list("ssh"), session.environment);
  const upload = await contextOf(client, source);
  const messages = buildImage(client, {
    query: queryOf(work, upload.offer),
    context: source.kind === "folder" && flags.bool("compress") ? gzipped(upload) : upload.archive,
    auths: await authsOf(session),
    secrets: readSecrets(flags.list("secret"), session.environment),
    agents: agents.sockets,
  });
  const view = viewOf(flags, progress, session);
  const interrupted = (signal: NodeJS.Signals) => {
    progress.cancel();
    view.end(false);
    restoreTerminals();
    agents[Symbol.dispose]();
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.on("SIGINT", interrupted);
  process.on("SIGTERM", interrupted);
  let failed = true;
  try {
    const id = await follow(messages, { client, source, progress, view, caches, named });
    failed = false;
    return { id, findings: progress.findings.length };
  } finally {
    if (failed) progress.fail();
    view.end(failed);
    process.off("SIGINT", interrupted);
    process.off("SIGTERM", interrupted);
  }
}

interface Followed {
  readonly client: ApiClient;
  readonly source: Source;
  readonly progress: BuildProgress;
  readonly view: BuildView;
  readonly caches: Caches;
  readonly named: NamedContexts;
}

/** @returns the image's id, null of a build that only looked */
async function follow(
  messages: AsyncIterable<BuildMessage>,
  followed: Followed,
): Promise<string | null> {
  const { progress, view } = followed;
  let id: string | null = null;
  const failures: unknown[] = [];
  for await (const message of messages) {
    const failure = message.errorDetail?.message ?? message.error;
    if (failure !== undefined && failure !== "") {
      throw new BuildFailed(failure, message.errorDetail?.code ?? 1);
    }
    const told = (message.aux as { ID?: string } | undefined)?.ID;
    if (told !== undefined) id = told;
    if (message.naruShell !== undefined) {
      view.pause?.();
      await visitFailed(followed.client, message.naruShell);
      view.resume?.();
      continue;
    }
    const carried = carry(followed, message);
    if (carried !== null) {
      // The build goes on meanwhile, and ends when it has what it wants.
      carried.catch((cause: unknown) => failures.push(cause));
      continue;
    }
    if (message.naru?.type === "failed") nameAsGiven(message.naru, followed.source);
    if (message.naru !== undefined) progress.take(message.naru);
    view.take(message);
  }
  if (failures.length > 0) throw failures[0];
  return id;
}

/** Pieces of caches in folders of this host, and folders themselves; null for all other messages. */
function carry(
  { client, caches, named }: Followed,
  { naruCache: event, naruContext }: BuildMessage,
): Promise<void> | null {
  if (naruContext !== undefined) return sendNamed(client, named, naruContext);
  if (event?.type === "wanted") return sendPiece(client, caches.cacheFrom, event);
  if (event?.type === "offered") return takeCache(client, caches.cacheTo, event);
  return null;
}

/** A Dockerfile from elsewhere was sent under a name that nobody has seen. */
function nameAsGiven(event: Extract<BuildEventMessage, { type: "failed" }>, source: Source): void {
  if (source.kind !== "folder" || event.file !== source.dockerfile) return;
  event.excerpt = source.shown + event.excerpt.slice(event.file.length);
  event.file = source.shown;
}

function queryOf(
  { client, session, flags, source, tags, caches, named }: Work,
  offer: string,
): string {
  const proxies = Object.fromEntries(proxyVariables(session.config, client));
  return buildQuery(
    flags,
    {
      dockerfile: source.dockerfile,
      remote: source.kind === "remote" ? source.remote : "",
      tags,
      offer,
      contexts: named.values,
      ...caches,
    },
    { environment: session.environment, proxies },
  );
}

async function contextOf(
  client: ApiClient,
  source: Source,
): Promise<{ offer: string; archive: AsyncIterable<Uint8Array> | undefined }> {
  switch (source.kind) {
    case "remote":
      return { offer: "", archive: undefined };
    case "stream":
      return { offer: "", archive: source.stream };
    case "folder":
      return await uploadOf(client, source);
  }
}

/** A base image may be anywhere: everything that is known goes along, as Docker's client does. */
async function authsOf({ config }: Session): Promise<Record<string, AuthConfig>> {
  const names = new Set([
    ...Object.keys(config.auths ?? {}),
    ...Object.keys(config.credHelpers ?? {}),
  ]);
  const auths: Record<string, AuthConfig> = {};
  for (const name of names) {
    const auth = await credentialsFor(config, name).catch((cause: unknown) => {
      warn(`WARNING: no credentials for ${name}: ${sentenceOf(cause)}`);
      return undefined;
    });
    if (auth !== undefined) auths[name] = auth;
  }
  return auths;
}

function viewOf(flags: Flags, progress: BuildProgress, session: Session): BuildView {
  const write = (text: string) => writeAll(STDERR, text);
  const explain = flags.bool("explain");
  if (isQuiet(flags)) {
    const end = (failed: boolean) => failed && write(failureText(progress));
    return { take: () => undefined, end };
  }
  if (flags.bool("check")) {
    return checkView(progress, { print: (text) => writeAll(STDOUT, text), warn: write });
  }
  const asked = flags.string("progress");
  if (asked === "rawjson") return rawView(write);
  // A terminal that draws nothing gets lines.
  const draws = isTerminal(STDERR) && session.environment["TERM"] !== "dumb";
  const isLive = asked === "tty" || (asked === "auto" && draws);
  if (!isLive) return plainView(progress, { write, explain });
  return liveView(progress, {
    write,
    explain,
    size: () => windowSize(STDERR) ?? DEFAULT_SIZE,
    coloured: !session.environment["NO_COLOR"],
  });
}

function writeMetadata(path: string, id: string, tags: readonly string[]): void {
  if (path === "") return;
  const metadata = {
    "containerimage.config.digest": id,
    "containerimage.digest": id,
    ...(tags.length > 0 ? { "image.name": tags.join(",") } : {}),
  };
  writeFileSync(path, `${JSON.stringify(metadata, null, 2)}\n`);
}
