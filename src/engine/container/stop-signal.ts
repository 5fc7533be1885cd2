/** Signals as people write them, in Docker's words when there is no such one. Pure. */
import { invalid } from "#base";
import { parseSignal, SIGTERM } from "#linux/process";

import type { ContainerConfig } from "./config.ts";

/** @throws EngineError "invalid" */
export function signalNumber(text: string): number {
  const number = parseSignal(text);
  if (number === null) throw invalid(`invalid signal: ${text}`);
  return number;
}

/** What `docker stop` sends first. @throws EngineError "invalid" */
export const stopSignalOf = ({ stopSignal }: Pick<ContainerConfig, "stopSignal">): number =>
  stopSignal === null || stopSignal === "" ? SIGTERM : signalNumber(stopSignal);
