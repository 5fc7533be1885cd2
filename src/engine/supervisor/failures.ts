/** What the daemon is told when something was refused. */
import { EngineError, noSuch, notFound, sentenceOf } from "#base";
import { RuntimeError } from "#engine/runtime";

import type { ProcessKey } from "./protocol.ts";

/** The failure of a request as it travels. */
export function failureOf(thrown: unknown) {
  const message = sentenceOf(thrown);
  if (thrown instanceof RuntimeError) {
    return { kind: "birth", message, failure: thrown.failure } as const;
  }
  const kind = thrown instanceof EngineError ? thrown.kind : "internal";
  if (kind === "notFound" || kind === "conflict" || kind === "invalid") return { kind, message };
  return { kind: "internal", message } as const;
}

export const noSuchProcess = (key: ProcessKey): EngineError =>
  key.execId === undefined
    ? noSuch("container", key.id)
    : notFound(`No such exec instance: ${key.execId}`);
