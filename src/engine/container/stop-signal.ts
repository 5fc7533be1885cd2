/** Signals as people write them, in Docker's words when there is no such one. Pure. */
import { invalid } from "#base";
import { parseSignal, SIGTERM } from "#linux/process";

import type { ContainerConfig } from "./config.ts";

/** @throws EngineError "invalid" */
export function signalNumber(text: string): number {
  const number = parseSignal(text);
  if (number !== null) return number;
  throw invalid(
    /^-?\d+$/.test(text) && Number(text) !== 0
      ? `the linux daemon does not support signal ${Number(text)}`
      : `invalid signal: ${text}`,
  );
}

/** What `docker stop` sends first. @throws EngineError "invalid" */
export const stopSignalOf = ({ stopSignal }: Pick<ContainerConfig, "stopSignal">): number =>
  stopSignal === null || stopSignal === "" ? SIGTERM : signalNumber(stopSignal);
