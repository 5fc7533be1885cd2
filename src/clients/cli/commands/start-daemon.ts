/** Starting a daemon for a `run` that found none: only for root, only on the default socket. */
import { sentenceOf } from "#base";
import { ConnectionError, ping } from "#clients/api-client";

import type { Session } from "../config/session.ts";
import { daemonEnvironment, programWords } from "./own-program.ts";

const READY_TIMEOUT_MS = 10_000;
const POLL_MS = 20;
const LOG = "/var/log/naru.log";

/** Starts `naru daemon` in the background and waits until it answers. @returns false when that is not ours to do */
export async function startDaemon(session: Session): Promise<boolean> {
  if (!session.usesDefaultSocket || process.getuid?.() !== 0) return false;
  session.warn(`naru: no daemon answers on ${session.defaultHost}: starting one (log: ${LOG})`);
  const { openSync, closeSync } = await import("node:fs");
  const log = openSync(LOG, "a", 0o640);
  try {
    const child = Bun.spawn([...programWords(), "daemon"], {
      stdin: "ignore",
      stdout: log,
      stderr: log,
      cwd: "/",
      detached: true,
      env: daemonEnvironment(),
    });
    child.unref();
    return await answers(session, child);
  } finally {
    closeSync(log);
  }
}

async function answers(session: Session, child: Bun.Subprocess): Promise<boolean> {
  const client = await session.client();
  for (const end = performance.now() + READY_TIMEOUT_MS; performance.now() < end;) {
    try {
      await ping(client);
      return true;
    } catch (cause) {
      if (!(cause instanceof ConnectionError)) {
        session.warn(`naru: the daemon answers, but: ${sentenceOf(cause)}`);
        return true;
      }
    }
    if (child.exitCode !== null) {
      session.warn(
        `naru: the daemon ended with code ${child.exitCode}; its last words are in ${LOG}`,
      );
      return false;
    }
    await Bun.sleep(POLL_MS);
  }
  session.warn(`naru: the daemon did not answer within ${READY_TIMEOUT_MS / 1000} s; see ${LOG}`);
  return false;
}
