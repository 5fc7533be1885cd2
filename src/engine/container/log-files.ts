/** Where a container's output goes, by its record. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { isReadable, type LogTarget, logTargetOf, spoolPath } from "#engine/log-delivery";

import { type Context, inBackground } from "./context.ts";
import type { ContainerRecord } from "./records.ts";

type Paths = Pick<Context, "paths">;

export const jsonLogPath = ({ paths }: Paths, id: string): string =>
  join(paths.containers, id, `${id}-json.log`);

const localLogPath = ({ paths }: Paths, id: string): string =>
  join(paths.containers, id, "local-logs", "container.log");

/** What waits for a log server outlives its container: beside the containers' folders, not in them. */
const spoolRoot = ({ paths }: Paths): string => join(paths.containers, "..", "log-spool");

const spoolFolder = (context: Paths, id: string): string => join(spoolRoot(context), id);

/** Whether what this container prints goes to a log server. */
export const isDelivered = ({ host }: Pick<ContainerRecord, "host">): boolean =>
  !["json-file", "local", "none"].includes(host.log.driver);

/** Its container is gone: the rest is delivered, then it goes. */
export function dropSpool(context: Context, id: string): void {
  const folder = spoolFolder(context, id);
  const dropped = context.supervisor.request({ type: "dropLog", folder });
  inBackground(context, `drop the delivered log of ${id}`, dropped);
}

/** What a removal that was cut off left. */
export function dropStraySpools(context: Context): void {
  let ids: string[];
  try {
    ids = readdirSync(spoolRoot(context));
  } catch {
    return; // no container had a log server yet
  }
  for (const id of ids) if (context.records.get(id) === undefined) dropSpool(context, id);
}

/** @throws EngineError "internal" in Docker's words for a tag that cannot be made */
export function logTargetFor(context: Paths, record: ContainerRecord): LogTarget {
  const { id, config, host } = record;
  return logTargetOf(host.log, {
    id,
    name: record.name,
    imageId: record.imageId,
    imageName: config.image,
    path: record.path,
    args: record.args,
    createdAt: record.createdAt,
    labels: config.labels,
    environment: config.environment,
    jsonPath: jsonLogPath(context, id),
    localPath: localLogPath(context, id),
    spoolFolder: spoolFolder(context, id),
  });
}

/** The file that `docker logs` reads; null where the driver has none. */
export function readableLog(
  context: Paths,
  { id, host }: Pick<ContainerRecord, "id" | "host">,
): { path: string; format: "json" | "raw" } | null {
  const { driver } = host.log;
  if (driver === "json-file") return { path: jsonLogPath(context, id), format: "json" };
  if (driver === "local") return { path: localLogPath(context, id), format: "raw" };
  if (!isReadable(host.log)) return null;
  return { path: spoolPath(spoolFolder(context, id)), format: "raw" };
}
