/** Knows when a log's folder changed: inotify, and a slow look in case an event was lost. */
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";

const FALLBACK_MS = 1000;
const POLL_MS = 100;

export interface LogWatch extends Disposable {
  /** Resolves at the next change since the last call; at once when there was one meanwhile. */
  changed(): Promise<void>;
  /** Ends the wait, for other reasons than a change. */
  wake(): void;
}

/**
 * Watches until disposed; an abort ends the current wait.
 * @param onRenamed called at once when the log's name may be another file's
 */
export function watchLog(
  path: string,
  signal?: AbortSignal,
  onRenamed: () => void = () => undefined,
): LogWatch {
  let isPending = false;
  let resume: (() => void) | null = null;
  const wake = () => {
    isPending = true;
    resume?.();
  };
  const name = basename(path);
  let watcher: FSWatcher | null = null;
  try {
    watcher = watch(dirname(path), (event, file) => {
      if (file !== null && file !== name) return;
      if (event === "rename") onRenamed();
      wake();
    });
    watcher.on("error", wake);
  } catch {
    watcher = null; // no inotify watch left, or no folder yet: look often instead
  }
  signal?.addEventListener("abort", wake);
  return {
    wake,
    changed: async () => {
      if (!isPending && !signal?.aborted) {
        const timer = setTimeout(wake, watcher === null ? POLL_MS : FALLBACK_MS);
        const { promise, resolve } = Promise.withResolvers<void>();
        resume = resolve;
        await promise;
        resume = null;
        clearTimeout(timer);
      }
      isPending = false;
    },
    [Symbol.dispose]: () => {
      watcher?.close();
      signal?.removeEventListener("abort", wake);
    },
  };
}
