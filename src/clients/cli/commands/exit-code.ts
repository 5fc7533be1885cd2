/** The exit code of a container, as this program passes it on. */
import { EngineError } from "#base";
import type { ContainerWait } from "#wire/docker";

/** The container's exit code, or the engine's failure to know it. */
export function exitCodeOf({ StatusCode, Error: failure }: ContainerWait): number {
  const message = failure?.Message ?? "";
  if (message === "") return StatusCode;
  throw new EngineError("internal", `Error waiting for container: ${message}`);
}
