/** A container's files: `docker cp`, `export`, `diff` and `commit`. */
import { invalid } from "#base";
import type { ContainerService, FileChange, PathStat } from "#engine/container";
import { type ImageRunConfig, parseImageConfig, parseReference } from "#oci";
import type { ContainerChange, ContainerPathStat } from "#wire/docker";
import { startedStream } from "#wire/http";

import type { Call } from "./call.ts";
import { decodeChanges } from "./decode/changes.ts";
import { encodeFileMode } from "./encode/file-mode.ts";
import type { Routes } from "./routes.ts";

const TAR_TYPE = "application/x-tar";

export function fileRoutes(containers: ContainerService): Routes {
  return {
    "HEAD /containers/:id/archive": async (call) => {
      const stat = await containers.statPath(call.param("id"), pathOf(call));
      call.send({ status: 200, type: "", body: "", headers: statHeader(stat) });
    },
    "GET /containers/:id/archive": async (call) => {
      const { stat, tar } = await containers.readArchive(call.param("id"), pathOf(call));
      await call.stream(await startedStream(tar), TAR_TYPE, statHeader(stat));
    },
    "PUT /containers/:id/archive": (call) => extract(call, containers),
    "GET /containers/:id/export": async (call) => {
      const tar = await containers.exportFiles(call.param("id"));
      await call.stream(await startedStream(tar), "application/octet-stream");
    },
    "GET /containers/:id/changes": async (call) => {
      const changes = await containers.changes(call.param("id"));
      call.json(200, changes.map(encodeChange));
    },
    "POST /commit": (call) => commit(call, containers),
  };
}

/** @throws EngineError "invalid" in Docker's words */
function pathOf({ query }: Call): string {
  const path = query.text("path");
  if (path === "") throw invalid("bad parameter: 'path' cannot be empty");
  return path;
}

async function extract(call: Call, containers: ContainerService): Promise<void> {
  const { query } = call;
  await containers.extract(call.param("id"), {
    path: pathOf(call),
    archive: call.bytes(),
    keepKinds: query.bool("noOverwriteDirNonDir"),
    copyOwner: query.bool("copyUIDGID"),
    signal: call.signal,
  });
  call.empty(200);
}

/** The years 1 to 9999: others are no time in JSON. A container may give its files any. */
const EARLIEST_SEC = -62_135_596_800;
const LATEST_SEC = 253_402_300_799;

/** In base64, since names are not HTTP's to read. */
function statHeader(stat: PathStat): Readonly<Record<string, string>> {
  const seconds = Math.min(Math.max(stat.mtimeSec, EARLIEST_SEC), LATEST_SEC);
  const time = new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, "");
  const fraction = String(stat.mtimeNsec).padStart(9, "0").replace(/0+$/, "");
  const told: ContainerPathStat = {
    name: stat.name,
    size: stat.sizeBytes,
    mode: encodeFileMode(stat.mode),
    mtime: `${time}${fraction === "" ? "" : `.${fraction}`}Z`,
    linkTarget: stat.linkTarget,
  };
  const encoded = Buffer.from(JSON.stringify(told)).toString("base64");
  return { "X-Docker-Container-Path-Stat": encoded };
}

const KINDS = { modified: 0, added: 1, deleted: 2 } as const satisfies Record<
  FileChange["kind"],
  number
>;

const encodeChange = ({ kind, path }: FileChange): ContainerChange => ({
  Path: path,
  Kind: KINDS[kind],
});

async function commit(call: Call, containers: ContainerService): Promise<void> {
  const { query } = call;
  const repository = query.text("repo");
  const tag = query.text("tag");
  const base = decodeConfig(await call.body());
  const id = await containers.commit(query.text("container"), {
    reference: repository === "" ? null : referenceOf(repository, tag),
    author: query.text("author"),
    comment: query.text("comment"),
    // Docker pauses unless it is told not to.
    pause: !query.has("pause") || query.bool("pause"),
    config: decodeChanges(query.all("changes"), base),
    signal: call.signal,
  });
  call.json(201, { Id: id });
}

function referenceOf(repository: string, tag: string): string {
  const { digest, tag: own } = parseReference(repository);
  if (digest !== null || own !== null) throw invalid(`unexpected repository name: ${repository}`);
  const whole = tag === "" ? repository : `${repository}:${tag}`;
  parseReference(whole);
  return whole;
}

/** The body is a container's Config, of which an image keeps what concerns a run. */
function decodeConfig(body: unknown): ImageRunConfig {
  if (body === undefined || body === null) return {};
  const document = {
    architecture: "amd64",
    os: "linux",
    config: body,
    rootfs: { type: "layers", diff_ids: [] },
  };
  return parseImageConfig(new TextEncoder().encode(JSON.stringify(document))).config ?? {};
}
