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
  readonly #writing = new Map<string, AbortController>();

  /** Their writers are children of this process: another program in its place would not know them. */
  get areUnderWay(): boolean {
    return this.#writing.size > 0;
  }

  /** Kills the writer, if there is one. */
  abandon(id: string): void {
    this.#writing.get(id)?.abort();
  }

  /** @throws RuntimeError, EngineError "conflict" */
  async write(
    driver: RuntimeDriver,
    { id, images, lock, leaveRunning }: CheckpointMessage,
    container: Pick<CheckpointRequest, "pid" | "spec" | "streams">,
  ): Promise<void> {
    if (driver.checkpoint === undefined) throw unable(driver);
    if (this.#writing.has(id)) throw conflict(`a checkpoint of container ${id} is being made`);
    const held = openSync(lock, "r+");
    const giveUp = new AbortController();
    this.#writing.set(id, giveUp);
    try {
      if (attempt("flock", held, LOCK_EX | LOCK_NB) < 0) throw conflict(`${lock} is in use`);
      const { signal } = giveUp;
      await driver.checkpoint({ ...container, images, leaveRunning, held, signal });
    } finally {
      this.#writing.delete(id);
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
