/** Images: list and look, and everything that brings them in or takes them out. */
import { forbidden, invalid, ownTurn } from "#base";
import type { DeletedImage, ImageFilters, ImageService, OnProgress } from "#engine/image";
import { familiarName, parsePlatform, type Platform, parseReference, repositoryOf } from "#oci";
import {
  atLeast,
  type ImageDeleteItem,
  type ImageSearchResult,
  type ImagesPrune,
} from "#wire/docker";
import { parseJson, requireFilters, startedStream } from "#wire/http";

import type { Call } from "./call.ts";
import { decodeChanges } from "./decode/changes.ts";
import { decodeCredentials } from "./decode/registry-auth.ts";
import {
  encodeHistory,
  encodeImage,
  encodeImageSummary,
  encodeManifests,
  familiarOrSame,
} from "./encode/image.ts";
import { parseMoment } from "./instants.ts";
import { answerProgress } from "./progress.ts";
import { openRemoteArchive } from "./remote-archive.ts";
import type { Routes } from "./routes.ts";

export function imageRoutes(images: ImageService): Routes {
  return {
    "GET /images/json": (call) => list(call, images),
    "GET /images/**:name/json": (call) => inspect(call, images),
    "GET /images/**:name/history": (call) => {
      const history = images.history(call.param("name"), askedPlatform(call));
      call.json(200, history.map(encodeHistory));
    },
    "POST /images/**:name/tag": (call) => {
      const { domain, path, tag } = parseReference(call.query.text("repo"));
      if (familiarName({ domain, path }) === "sha256") {
        throw invalid("refusing to create an ambiguous tag using digest algorithm as name");
      }
      images.tag({
        source: call.param("name"),
        repository: repositoryOf({ domain, path }),
        tag: call.query.text("tag") || (tag ?? "latest"),
      });
      call.empty(201);
    },
    "GET /images/search": (call) => search(call, images),
    "POST /images/prune": (call) => prune(call, images),
    "DELETE /images/**:name": (call) => remove(call, images),
    "POST /images/create": (call) =>
      call.query.has("fromSrc") ? importImage(call, images) : pull(call, images),
    "POST /images/load": (call) => load(call, images),
    "GET /images/get": (call) => save(call, images, call.query.all("names")),
    "GET /images/**:name/get": (call) => save(call, images, [call.param("name")]),
    "POST /images/**:name/push": (call) => push(call, images),
  };
}

async function list(call: Call, images: ImageService): Promise<void> {
  await ownTurn();
  const { query, version } = call;
  const shared =
    atLeast(version, "1.42") && query.bool("shared-size") ? images.usage().sharedSizeBytes : null;
  const withManifests = atLeast(version, "1.47") && query.bool("manifests");
  const all = query.bool("all");
  const listed = images.list(imageFilters(call), { all, byIndex: withManifests });
  const told = listed.map((image) =>
    encodeImageSummary(image, version, {
      ...(shared === null ? {} : { sharedSizeBytes: shared.get(image.id) ?? 0 }),
      ...(withManifests ? { usage: images.usageOf(image) } : {}),
      ...(atLeast(version, "1.51") ? { containers: images.containersOf(image) } : {}),
    }),
  );
  call.json(200, told);
}

function inspect(call: Call, images: ImageService): void {
  const { query, version } = call;
  const withManifests = atLeast(version, "1.48") && query.bool("manifests");
  if (withManifests && query.text("platform") !== "") {
    throw invalid("conflicting options: manifests and platform options cannot both be set");
  }
  const name = call.param("name");
  const image = images.resolve(name, askedPlatform(call));
  const inspected = encodeImage(image, version);
  if (!atLeast(version, "1.48")) return call.json(200, inspected);
  const { Descriptor, Manifests } = encodeManifests(images.usageOf(image, name));
  call.json(200, { ...inspected, Descriptor, ...(withManifests ? { Manifests } : {}) });
}

const SEARCH_FILTERS: ReadonlySet<string> = new Set(["is-automated", "is-official", "stars"]);
const SEARCH_LIMIT = 25;

async function search(call: Call, images: ImageService): Promise<void> {
  const { query } = call;
  const filters = requireFilters(query.filters(), SEARCH_FILTERS);
  const [official, automated] = ["is-official", "is-automated"].map((name) => {
    const value = filters[name]?.at(-1);
    return value === undefined ? undefined : booleanFilter(name, [value]);
  });
  const stars = Math.max(0, ...(filters["stars"] ?? []).map((text) => starsOf(text)));
  const credentials = decodeCredentials(call.header("x-registry-auth"));
  const term = query.text("term");
  if (term === "") throw invalid("missing search term");
  const found = await images.search({
    term,
    limit: query.integer("limit") ?? SEARCH_LIMIT,
    ...(credentials === undefined ? {} : { credentials }),
    signal: call.signal,
  });
  const answer: ImageSearchResult[] = found
    // Docker Hub builds nothing by itself any more: no image is automated.
    .filter(() => automated !== true)
    .filter((one) => (official === undefined || one.isOfficial === official) && one.stars >= stars)
    .map(({ name, description, isOfficial, stars: count }) => ({
      name,
      description,
      is_official: isOfficial,
      is_automated: false,
      star_count: count,
    }));
  call.json(200, answer);
}

function starsOf(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw invalid(
    `invalid filter 'stars=${text}': strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`,
  );
}

const PRUNE_FILTERS: ReadonlySet<string> = new Set(["dangling", "label", "label!", "until"]);

async function prune(call: Call, images: ImageService): Promise<void> {
  const filters = requireFilters(call.query.filters(), PRUNE_FILTERS);
  const until = filters["until"] ?? [];
  if (until.length > 1) throw invalid("more than one until filter specified");
  const [moment] = until;
  const dangling = filters["dangling"];
  const { deleted, reclaimedBytes } = await images.prune({
    danglingOnly: dangling === undefined || booleanFilter("dangling", dangling),
    until: moment === undefined ? null : parseMoment(moment, new Date()),
    labels: filters["label"] ?? [],
    withoutLabels: filters["label!"] ?? [],
    signal: call.signal,
  });
  const answer: ImagesPrune = {
    ImagesDeleted: encodeDeleted(deleted),
    SpaceReclaimed: reclaimedBytes,
  };
  call.json(200, answer);
}

const encodeDeleted = (deleted: readonly DeletedImage[]): ImageDeleteItem[] =>
  deleted.map((item) => ({
    ...(item.untagged === undefined ? {} : { Untagged: familiarOrSame(item.untagged) }),
    ...(item.deleted === undefined ? {} : { Deleted: item.deleted }),
  }));

/** `linux/arm64`, or since API 1.48 the JSON of OCI. @throws EngineError "invalid" */
function askedPlatform({ query }: Call): Platform | undefined {
  const text = query.text("platform");
  return text === "" ? undefined : parseAskedPlatform(text);
}

function parseAskedPlatform(text: string): Platform {
  if (!text.startsWith("{")) return parsePlatform(text);
  const { os, architecture, variant } = parseJson(text) as Partial<Record<string, unknown>>;
  const parts = [os, architecture, ...(variant === undefined || variant === "" ? [] : [variant])];
  if (parts.some((part) => typeof part !== "string")) throw invalid(`invalid platform: ${text}`);
  return parsePlatform(parts.join("/"));
}

function platformOption(call: Call): { platform?: Platform } {
  if (call.query.all("platform").length > 1) {
    throw invalid("multiple platform parameters not supported");
  }
  const platform = askedPlatform(call);
  return platform === undefined ? {} : { platform };
}

const IMAGE_FILTERS: ReadonlySet<string> = new Set([
  "before",
  "dangling",
  "label",
  "reference",
  "since",
  "until",
]);

function imageFilters({ query }: Call): ImageFilters {
  const asked = requireFilters(query.filters(), IMAGE_FILTERS);
  const one = (name: string) => asked[name]?.at(-1);
  const [before, since, until] = [one("before"), one("since"), one("until")];
  const dangling = asked["dangling"];
  return {
    ...(asked["reference"] === undefined ? {} : { references: asked["reference"] }),
    ...(asked["label"] === undefined ? {} : { labels: asked["label"] }),
    ...(dangling === undefined ? {} : { dangling: booleanFilter("dangling", dangling) }),
    ...(before === undefined ? {} : { before }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until: parseMoment(until, new Date()) }),
  };
}

/** As Docker: some value says yes or some says no, and those that are neither do not count. */
function booleanFilter(name: string, values: readonly string[]): boolean {
  const isTrue = values.some((value) => value === "true" || value === "1");
  const isFalse = values.some((value) => value === "false" || value === "0");
  if (isTrue === isFalse) throw invalid(`invalid filter '${name}=[${values.join(" ")}]'`);
  return isTrue;
}

/** More than any image has. */
const PLATFORMS_LIMIT = 100;

async function remove(call: Call, images: ImageService): Promise<void> {
  const { query, version } = call;
  const platforms = atLeast(version, "1.50") ? query.all("platforms") : [];
  if (platforms.length > PLATFORMS_LIMIT) throw invalid("too many platforms");
  const removed = await images.remove({
    name: call.param("name"),
    force: query.bool("force"),
    prune: !query.bool("noprune"),
    platforms: platforms.filter((text) => text !== "").map(parseAskedPlatform),
  });
  call.json(200, encodeDeleted(removed));
}

/** A name without tag and digest means every tag, as in Docker; its CLI always says one. */
function pull(call: Call, images: ImageService): Promise<void> {
  const { query } = call;
  const name = query.text("fromImage");
  const tag = query.text("tag");
  const joint = tag.includes(":") ? "@" : ":";
  const reference = tag === "" ? name : `${name}${joint}${tag}`;
  const parsed = parseReference(reference);
  if (familiarName(parsed) === "scratch") throw forbidden("'scratch' is a reserved name");
  const platform = askedPlatform(call);
  const credentials = decodeCredentials(call.header("x-registry-auth"));
  return answerProgress(call, (onProgress, signal) =>
    images.pull({
      reference,
      ...(platform === undefined ? {} : { platform }),
      ...(credentials === undefined ? {} : { credentials }),
      ...(parsed.tag === null && parsed.digest === null ? { all: true } : {}),
      signal,
      onProgress,
    }),
  );
}

function push(call: Call, images: ImageService): Promise<void> {
  const name = call.param("name");
  const tag = call.query.text("tag");
  const reference = tag === "" ? name : `${name}:${tag}`;
  parseReference(reference);
  const platform = platformOption(call);
  const credentials = decodeCredentials(call.header("x-registry-auth"));
  return answerProgress(call, (onProgress, signal) =>
    images.push({
      reference,
      ...platform,
      ...(credentials === undefined ? {} : { credentials }),
      signal,
      onProgress,
    }),
  );
}

function load(call: Call, images: ImageService): Promise<void> {
  const platform = platformOption(call);
  const work = async (onProgress: OnProgress, signal: AbortSignal) => {
    await images.load({
      archive: call.bytes(),
      quiet: call.query.bool("quiet"),
      ...platform,
      signal,
      onProgress,
    });
  };
  // As Docker: whatever is wrong with an archive is said in the stream.
  return answerProgress(call, work, { failsInStream: true });
}

/** The answer begins with the first bytes: an image that is not there still has a status. */
async function save(call: Call, images: ImageService, names: readonly string[]): Promise<void> {
  if (names.length === 0) throw invalid("no image was named");
  const archive = await startedStream(
    images.save(names, { ...platformOption(call), signal: call.signal }),
  );
  await call.stream(archive, "application/x-tar");
}

function importImage(call: Call, images: ImageService): Promise<void> {
  const { query } = call;
  const source = query.text("fromSrc");
  const repository = query.text("repo");
  const tag = query.text("tag");
  const reference = tag === "" ? repository : `${repository}:${tag}`;
  if (repository !== "" && parseReference(reference).digest !== null) {
    throw invalid("cannot import digest reference");
  }
  const changes = decodeChanges(query.all("changes"));
  const platform = askedPlatform(call);
  const message = query.text("message");
  return answerProgress(call, async (onProgress, signal) => {
    const archive =
      source === "-" ? call.bytes() : await openRemoteArchive(source, { signal, onProgress });
    const id = await images.importTar({
      archive,
      ...(repository === "" ? {} : { reference }),
      ...(message === "" ? {} : { message }),
      changes,
      ...(platform === undefined ? {} : { platform }),
      signal,
      onProgress,
    });
    onProgress({ status: id });
  });
}
