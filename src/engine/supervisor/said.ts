/** What messages say of a process, and what is said of one. Pure. */
import { type EngineError, noSuch, notFound } from "#base";
import type { LogTarget } from "#engine/log-delivery";
import { timeNow } from "#engine/logs";

import type { ProcessEnd } from "./end.ts";
import type { ProcessIdentity } from "./process.ts";
import type { ExitReport, ProcessKey } from "./protocol.ts";

export const exitOf = (
  identity: ProcessIdentity,
  end: ProcessEnd,
  oomKilled: boolean,
): ExitReport => ({
  key: identity.key,
  pid: identity.pid,
  exitCode: end.exitCode,
  oomKilled,
  finishedAt: timeNow(),
  error: end.error,
});

export const noSuchProcess = (key: ProcessKey): EngineError =>
  key.execId === undefined
    ? noSuch("container", key.id)
    : notFound(`No such exec instance: ${key.execId}`);

export type RemoteLog = Extract<LogTarget, { driver: "remote" }>;

export const jobOf = ({ folder, delivery }: RemoteLog) => ({ folder, delivery });
