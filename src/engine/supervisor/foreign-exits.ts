/** Ends of processes that an earlier supervisor gave birth to, where their pidfds do not keep them (before Linux 6.15). */
import { release } from "node:os";

import { errnoNumbers, SyscallError } from "#linux/ffi";
import { ExitNews, exitCodeOfStatus, waitPidfd } from "#linux/process";

import { type ProcessEnd, readProcessEnd, UNKNOWN_END } from "./end.ts";
import type { ProcessIdentity } from "./process.ts";

/** The kernel tells of an exit an instant after its pidfd is ready. */
const DOUBT_MS = 50;
const KEEPS_EXITS = Bun.semver.order(release().split("-", 1)[0] ?? "", "6.15.0") >= 0;

export type ReadEnd = (process: ProcessIdentity, pidfd: number) => ProcessEnd | null;

export class ForeignExits {
  #news: ExitNews | null = null;

  /** How to read the end of this process, from now on. Never throws. */
  reader({ pid }: ProcessIdentity, pidfd: number): ReadEnd {
    if (KEEPS_EXITS || isChild(pidfd)) return readProcessEnd;
    const news = this.#open();
    if (news === null) return readProcessEnd;
    news.follow(pid);
    let doubtUntil: number | null = null;
    return (process, own) => {
      const end = readProcessEnd(process, own);
      if (end === null) return null;
      const status = end === UNKNOWN_END ? news.statusOf(pid) : null;
      if (end === UNKNOWN_END && status === null) {
        doubtUntil ??= performance.now() + DOUBT_MS;
        // The pidfd stays ready: it is asked again at once.
        if (performance.now() < doubtUntil) return null;
      }
      this.#forget(news, pid);
      return status === null ? end : { exitCode: exitCodeOfStatus(status), error: null };
    };
  }

  #forget(news: ExitNews, pid: number): void {
    news.forget(pid);
    if (!news.isEmpty || this.#news !== news) return;
    news[Symbol.dispose]();
    this.#news = null;
  }

  /** null where nobody tells: in a container, or without the connector. */
  #open(): ExitNews | null {
    try {
      this.#news ??= new ExitNews();
    } catch (thrown) {
      if (!(thrown instanceof SyscallError)) throw thrown;
    }
    return this.#news;
  }
}

/** Children that an upgraded supervisor was handed are its own still. */
function isChild(pidfd: number): boolean {
  try {
    waitPidfd(pidfd, { noHang: true, noReap: true });
    return true;
  } catch (thrown) {
    if (thrown instanceof SyscallError && thrown.errno === errnoNumbers.ECHILD) return false;
    throw thrown;
  }
}
