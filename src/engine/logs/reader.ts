/**
 * The reading end of a json-file log. Lives in the daemon and needs nothing of the writer but its files: it finds
 * the last lines from the end, and follows across rotations without repeating a line, or losing one unsaid.
 */
import { breathe } from "#base";

import type { LogEntry, LogFormat } from "./entry.ts";
import { type LogFile, type LogFiles, openLogFiles } from "./log-file.ts";
import { timeNow, timeText } from "./timestamp.ts";
import { startsAfter, Trail } from "./trail.ts";
import { watchLog } from "./watch.ts";

/** Where a reader stands: after everything it was given. Survives a rotation (by inode) and compressing (by time). */
export interface LogPlace {
  inode: number;
  offset: number;
  /** Of the last entry read; "" before the first. */
  time: string;
}

export interface ReadLogRequest {
  readonly path: string;
  /** json where nothing is said. */
  readonly format?: LogFormat;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Only the last `tail` lines of both streams together; null: all. */
  readonly tail: number | null;
  /** Nanoseconds since 1970, both inclusive. */
  readonly since: bigint | null;
  readonly until: bigint | null;
  /** Set to follow: resolves when the container has ended and everything is written. */
  readonly ended: Promise<unknown> | null;
  readonly signal?: AbortSignal;
  /**
   * Of a follower: so many whole files were rotated out of what is kept before they were read. Called where their entries
   * would have come, before the next batch, which comes at once and may be empty.
   */
  readonly onMissed?: (files: number) => void;
  /** Begins here where given; brought up to date before each batch. */
  readonly place?: LogPlace;
}

/**
 * The entries of a log in batches, oldest first. A log that does not exist is empty; a follower waits for it.
 * Returning early (`break`) or aborting closes every file and watch.
 */
export async function* readLog(request: ReadLogRequest): AsyncGenerator<readonly LogEntry[]> {
  // Whoever goes away while the past is still being read gives up the wait for the end, too: no failure of anybody's.
  request.ended?.catch(() => {});
  const filter = new Filter(request);
  const files = await openHistory(request, filter);
  using trail = new Trail(filesOf(request), files);
  await seekTail(files, request.tail);
  if (request.ended !== null) return yield* follow(trail, filter, request);
  do {
    if (trail.current !== null) yield* drain(trail.current, filter, request.signal);
    if (filter.isPast || request.signal?.aborted) return;
  } while (trail.next() !== null);
}

async function* follow(
  trail: Trail,
  filter: Filter,
  request: ReadLogRequest,
): AsyncGenerator<readonly LogEntry[]> {
  const { path, signal } = request;
  using watch = watchLog(path, signal, () => trail.lookAhead());
  let ended = false;
  const end = () => {
    ended = true;
    watch.wake();
  };
  request.ended?.then(end, end);
  const timer = wakeAt(request.until, end);
  try {
    for (;;) {
      // Read before reading: what was written before the end was seen is read below.
      const last = ended;
      if (trail.current !== null) yield* drain(trail.current, filter, signal);
      if (filter.isPast || signal?.aborted) return;
      if (trail.hasNext) {
        // Nobody writes to a file that was moved away: what it holds now is all of it.
        if (trail.current !== null) yield* drain(trail.current, filter, signal);
        if (filter.isPast || signal?.aborted) return;
        const missed = await trail.advance(filter.lastTime);
        if (missed !== null && missed > 0) {
          request.onMissed?.(missed);
          yield [];
        }
        if (missed !== null) continue;
      }
      if (last || signal?.aborted) return;
      if (!ended) await watch.changed();
    }
  } finally {
    clearTimeout(timer);
  }
}

async function* drain(
  file: LogFile,
  filter: Filter,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly LogEntry[]> {
  for (;;) {
    await breathe();
    const read = await file.readEntries();
    if (read === null) return;
    const entries = filter.apply(read, file);
    if (entries.length > 0) yield entries;
    if (filter.isPast || signal?.aborted) return;
  }
}

/** Which entries are wanted, and how far the reading has come. */
class Filter {
  /** An entry later than `until` was seen: nothing after it is wanted. */
  isPast = false;
  /** The time of the last entry read, wanted or not. */
  lastTime = "";
  /** Entries up to this time were read before. */
  after = "";
  readonly sinceMs: number;
  readonly #request: ReadLogRequest;
  readonly #since: string;
  readonly #until: string;

  constructor(request: ReadLogRequest) {
    this.#request = request;
    this.#since = request.since === null ? "" : timeText(request.since);
    this.#until = request.until === null ? "~" : timeText(request.until);
    this.sinceMs = request.since === null ? 0 : Number(request.since / 1_000_000n);
    this.lastTime = request.place?.time ?? "";
  }

  apply(entries: readonly LogEntry[], file: LogFile): readonly LogEntry[] {
    const last = entries.at(-1);
    if (last === undefined) return entries;
    this.lastTime = last.time;
    const { place } = this.#request;
    if (place !== undefined) {
      Object.assign(place, { inode: file.inode, offset: file.position, time: last.time });
    }
    const { stdout, stderr } = this.#request;
    const first = entries[0]?.time ?? "";
    const isAll = stdout && stderr && first >= this.#since && last.time <= this.#until;
    // A clock that was set back leaves later entries with earlier times: look at each unless nothing is asked.
    const isBounded = this.#since !== "" || this.#until !== "~" || this.after !== "";
    if (isAll && !isBounded) return entries;
    const wanted: LogEntry[] = [];
    for (const entry of entries) {
      if (entry.time > this.#until) {
        this.isPast = true;
        break;
      }
      if (entry.time < this.#since || entry.time <= this.after) continue;
      if (entry.stream === "stdout" ? stdout : stderr) wanted.push(entry);
    }
    return wanted;
  }
}

/** The kernel stamps files with a clock that lags behind the entries' by its tick. */
const MODIFIED_SLACK_MS = 1000;

/** The files to read, oldest first; those that ended before `since` are not even opened for long. */
async function openHistory(request: ReadLogRequest, filter: Filter): Promise<LogFile[]> {
  let lines = 0;
  const { tail, place } = request;
  if (place !== undefined && place.time !== "")
    return await filesFrom(filesOf(request), place, filter);
  return await openLogFiles(filesOf(request), async (file) => {
    if (file.modifiedAtMs() + MODIFIED_SLACK_MS < filter.sinceMs) return false;
    if (tail === null) return true;
    if (lines >= tail && lines > 0) return false;
    lines += await file.seekTail(Math.max(tail - lines, 1));
    return true;
  });
}

const filesOf = ({ path, format }: ReadLogRequest): LogFiles => ({
  path,
  format: format ?? "json",
});

/** The rest of a log after a place. */
async function filesFrom(log: LogFiles, place: LogPlace, filter: Filter): Promise<LogFile[]> {
  let isFound = false;
  return await openLogFiles(log, async (file) => {
    if (isFound) return false;
    if (file.inode === place.inode && file.sizeBytes() >= place.offset) {
      file.seekTo(place.offset);
      isFound = true;
    } else if (!(await startsAfter(file, place.time))) {
      // Compressed meanwhile, or deleted: then the times of its entries tell.
      filter.after = place.time;
      isFound = true;
    }
    return true;
  });
}

/** Moves each file to where the last `tail` lines of all begin. */
async function seekTail(files: readonly LogFile[], tail: number | null): Promise<void> {
  if (tail === null) return;
  let left = tail;
  for (const file of files.toReversed()) {
    if (left <= 0) file.seekEnd();
    else left -= await file.seekTail(left);
  }
}

function wakeAt(until: bigint | null, wake: () => void): Timer | undefined {
  if (until === null) return undefined;
  const delayMs = Number(until / 1_000_000n) - Date.parse(timeNow());
  return delayMs > 2 ** 31 - 1 ? undefined : setTimeout(wake, Math.max(delayMs, 0));
}
