/** Containers that are being written down. */
import { closeSync, openSync } from "node:fs";

import { conflict } from "#base";
import {
  type Born,
  type CheckpointRequest,
  type RestoreRequest,
  type RuntimeDriver,
  RuntimeError,
} from "#engine/runtime";
import { attempt } from "#linux/ffi";

import type { CheckpointMessage } from "./protocol.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;

export class Checkpoints {
  #count = 0;

  /** Their writers are children of this process: another program in its place would not know them. */
  get areUnderWay(): boolean {
    return this.#count > 0;
  }

  /** @throws RuntimeError, EngineError "conflict" */
  async write(
    driver: RuntimeDriver,
    { images, lock, leaveRunning }: CheckpointMessage,
    container: Pick<CheckpointRequest, "pid" | "spec" | "streams">,
  ): Promise<void> {
    if (driver.checkpoint === undefined) throw unable(driver);
    const held = openSync(lock, "r+");
    this.#count += 1;
    try {
      if (attempt("flock", held, LOCK_EX | LOCK_NB) < 0) throw conflict(`${lock} is in use`);
      await driver.checkpoint({ ...container, images, leaveRunning, held });
    } finally {
      this.#count -= 1;
      closeSync(held);
    }
  }
}

/** @throws RuntimeError */
export async function restoreWith(driver: RuntimeDriver, request: RestoreRequest): Promise<Born> {
  if (driver.restore === undefined) throw unable(driver);
  return await driver.restore(request);
}

/** Of a runtime that is another program. */
const unable = ({ name }: Pick<RuntimeDriver, "name">): RuntimeError =>
  new RuntimeError("failed", `the runtime ${name} makes no checkpoints: use the native one`);
