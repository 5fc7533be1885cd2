/**
 * Checkpoints of containers, which this engine does not make. Docker has them among its experimental features: an engine
 * without those refuses them in the same words.
 */
import { invalid, notImplemented } from "#base";

import type { Call } from "./call.ts";
import type { Routes } from "./routes.ts";

const NONE = "checkpoints of containers are not supported by this engine";

export function checkpointRoutes(isExperimental: () => boolean): Routes {
  const refuse = (): never => {
    throw notImplemented(
      isExperimental()
        ? NONE
        : "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    );
  };
  return {
    "GET /containers/:id/checkpoints": refuse,
    "POST /containers/:id/checkpoints": refuse,
    "DELETE /containers/:id/checkpoints/:checkpoint": refuse,
  };
}

/** A start from a checkpoint. @throws EngineError unless none is asked for */
export function refuseCheckpoint({ query }: Call, isExperimental: boolean): void {
  if (query.text("checkpoint") === "") return;
  throw isExperimental
    ? notImplemented(NONE)
    : invalid("checkpoint is only supported in experimental mode");
}
