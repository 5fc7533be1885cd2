/** Checkpoints of containers, which Docker has among its experimental features: an engine without those has none. */
import { notImplemented } from "#base";
import type { ContainerService } from "#engine/container";
import type { CheckpointCreateRequest } from "#wire/docker";

import type { Call } from "./call.ts";
import { decodeShape, type FieldsOf, type Shape } from "./decode/shape.ts";
import type { Handler, Routes } from "./routes.ts";

const fields: FieldsOf<CheckpointCreateRequest> = {
  CheckpointID: "string",
  CheckpointDir: "string",
  Exit: "bool",
};
const createShape: Shape = { struct: "CreateRequest", fields };

type Checkpoints = Pick<
  ContainerService,
  "createCheckpoint" | "listCheckpoints" | "removeCheckpoint"
>;

export function checkpointRoutes(containers: Checkpoints, isExperimental: () => boolean): Routes {
  const experimental =
    (handler: Handler): Handler =>
    (call) => {
      if (isExperimental()) return handler(call);
      throw notImplemented(
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
      );
    };
  const directoryOf = ({ query }: Call) => ({ directory: query.text("dir") });
  return {
    "GET /containers/:id/checkpoints": experimental((call) => {
      const names = containers.listCheckpoints(call.param("id"), directoryOf(call));
      call.json(
        200,
        names.map((Name) => ({ Name })),
      );
    }),
    "POST /containers/:id/checkpoints": experimental((call) => create(call, containers)),
    "DELETE /containers/:id/checkpoints/:checkpoint": experimental(async (call) => {
      const name = call.param("checkpoint");
      await containers.removeCheckpoint(call.param("id"), { ...directoryOf(call), name });
      call.empty(204);
    }),
  };
}

async function create(call: Call, containers: Checkpoints): Promise<void> {
  const body = await call.requireBody();
  const asked = decodeShape<CheckpointCreateRequest>(body, createShape);
  await containers.createCheckpoint(call.param("id"), {
    name: asked.CheckpointID ?? "",
    directory: asked.CheckpointDir ?? "",
    leaveRunning: asked.Exit !== true,
  });
  call.empty(201);
}
