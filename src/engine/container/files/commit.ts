/** `docker commit`: a container's changes as a new layer on its image. */
import { conflict, EngineError } from "#base";
import { healthOfNano, mergeHealth, nanoOfHealth } from "#engine/health";
import {
  type Digest,
  familiarReference,
  type ImageRunConfig,
  parseReference,
  withDefaultTag,
} from "#oci";

import type { CommitRequest } from "../container-service.ts";
import type { Context } from "../context.ts";
import { publishEvent } from "../happenings.ts";
import type { ContainerRecord } from "../records.ts";
import { pauseContainer, unpauseContainer } from "../stop.ts";
import { engineMarks } from "./marks.ts";
import { whileStill } from "./view.ts";
import { snapshotOf } from "../storage.ts";

/** @returns the new image's id. @throws EngineError "conflict" while it is being removed */
export async function commitContainer(
  context: Context,
  nameOrId: string,
  request: CommitRequest,
): Promise<Digest> {
  const record = context.records.resolve(nameOrId);
  if (record.state.status === "removing") {
    throw conflict(`You cannot commit container ${record.id} which is being removed`);
  }
  const paused = request.pause && record.state.status === "running";
  const thaw = paused ? await freeze(context, record.id) : async () => undefined;
  try {
    const imageId = await whileStill(context, record.id, (now) => write(context, now, request));
    publishEvent(context, record, "commit", {
      comment: request.comment,
      imageID: imageId,
      imageRef: request.reference === null ? "" : shownReference(request.reference),
    });
    return imageId;
  } finally {
    await thaw();
  }
}

const shownReference = (text: string): string =>
  familiarReference(withDefaultTag(parseReference(text)));

/** A container that ends meanwhile needs no freezing, and one that a person paused stays so. */
async function freeze(context: Context, id: string): Promise<() => Promise<void>> {
  try {
    await pauseContainer(context, id, { passing: true });
  } catch (error) {
    if (error instanceof EngineError && error.kind === "conflict") return async () => undefined;
    throw error;
  }
  return async () => {
    try {
      await unpauseContainer(context, id);
    } catch (error) {
      const isOver =
        error instanceof EngineError && (error.kind === "conflict" || error.kind === "notFound");
      if (!isOver) throw error;
    }
  };
}

async function write(
  context: Context,
  record: ContainerRecord,
  request: CommitRequest,
): Promise<Digest> {
  const { layers, imageId, config } = record;
  const { upper } = snapshotOf(context, record);
  return await context.images.commit({
    parent: imageId,
    upper,
    skip: engineMarks(upper, context.snapshots.lowers(layers)),
    config: mergedConfig(request.config, record),
    createdBy: (config.command ?? []).join(" "),
    author: request.author,
    comment: request.comment,
    ...(request.reference === null ? {} : { reference: request.reference }),
    signal: request.signal,
  });
}

/** What was asked, and for the rest what the container has. */
function mergedConfig(asked: ImageRunConfig, { config }: ContainerRecord): ImageRunConfig {
  const set = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, {}]));
  const nameOf = (entry: string) => entry.split("=", 1)[0];
  const own = new Set((asked.Env ?? []).map(nameOf));
  const takesProgram = (asked.Entrypoint?.length ?? 0) === 0;
  const takesCommand = takesProgram && (asked.Cmd?.length ?? 0) === 0;
  const command = takesCommand ? config.command : asked.Cmd;
  const entrypoint = asked.Entrypoint ?? (takesProgram ? config.entrypoint : null);
  const workingDirectory = asked.WorkingDir || config.workingDirectory;
  const stopSignal = asked.StopSignal || config.stopSignal;
  const shell = asked.Shell ?? config.shell;
  const exposed = { ...set(config.exposedPorts), ...asked.ExposedPorts };
  const volumes = { ...set(config.volumes), ...asked.Volumes };
  const health = mergeHealth(
    asked.Healthcheck ? healthOfNano(asked.Healthcheck) : null,
    config.healthcheck ?? null,
  );
  return {
    User: asked.User || config.user,
    ...(Object.keys(exposed).length > 0 ? { ExposedPorts: exposed } : {}),
    Env: [
      ...(asked.Env ?? []),
      ...config.environment.filter((entry) => !own.has(nameOf(entry) ?? "")),
    ],
    ...(command ? { Cmd: [...command] } : {}),
    ...(health === null ? {} : { Healthcheck: nanoOfHealth(health) }),
    ...(Object.keys(volumes).length > 0 ? { Volumes: volumes } : {}),
    WorkingDir: workingDirectory,
    ...(entrypoint ? { Entrypoint: [...entrypoint] } : {}),
    ...(asked.OnBuild ? { OnBuild: asked.OnBuild } : {}),
    Labels: { ...config.labels, ...asked.Labels },
    ...(stopSignal ? { StopSignal: stopSignal } : {}),
    ...(shell ? { Shell: [...shell] } : {}),
  };
}
