/** The bodies of exec's two requests. */
import { invalid } from "#base";
import type { ExecCreateRequest } from "#engine/container";
import type * as wire from "#wire/docker";

import { decodeConsoleSize } from "./container.ts";
import { execCreateShape, execStartShape } from "./create-shape.ts";
import { decodeShape } from "./shape.ts";

/** @throws EngineError "invalid": `No exec command specified` */
export function decodeExecCreate(body: unknown): ExecCreateRequest {
  const asked = decodeShape<wire.ExecCreateRequest>(body, execCreateShape);
  const command = asked.Cmd ?? [];
  if (command.length === 0) throw invalid("No exec command specified");
  return {
    command,
    attachStdin: asked.AttachStdin ?? false,
    attachStdout: asked.AttachStdout ?? false,
    attachStderr: asked.AttachStderr ?? false,
    terminal: asked.Tty ?? false,
    detachKeys: asked.DetachKeys ?? "",
    environment: asked.Env ?? [],
    workingDirectory: asked.WorkingDir ?? "",
    user: asked.User ?? "",
    privileged: asked.Privileged ?? false,
    consoleSize: decodeConsoleSize(asked.ConsoleSize ?? null),
  };
}

export function decodeExecStart(body: unknown): {
  detach: boolean;
  terminal: boolean;
  consoleSize: readonly [number, number] | null;
} {
  const asked = decodeShape<wire.ExecStartRequest>(body, execStartShape);
  const terminal = asked.Tty ?? false;
  // A size without a terminal means nothing, and Docker lets it pass.
  const consoleSize = terminal ? decodeConsoleSize(asked.ConsoleSize ?? null) : null;
  return { detach: asked.Detach ?? false, terminal, consoleSize };
}
