/** Signals as people write them, in Docker's words when there is no such one. Pure. */
import { invalid } from "#base";
import { parseSignal, SIGKILL, SIGTERM } from "#linux/process";

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

/** What an image or a container may have as its stop signal: any number, whether a kernel has it or not. */
const isNumber = (text: string): boolean => /^0*[1-9]\d{0,8}$/.test(text);

/** @throws EngineError "invalid" */
export function checkStopSignal(text: string): void {
  if (!isNumber(text)) signalNumber(text);
}

/** What `docker stop` sends first: where that cannot be sent, what Docker sends in the end. */
export function stopSignalOf({ stopSignal }: Pick<ContainerConfig, "stopSignal">): number {
  if (stopSignal === null || stopSignal === "") return SIGTERM;
  return parseSignal(stopSignal) ?? SIGKILL;
}
