/**
 * What is too much for the daemon's loop. Small copies are made at once, by the daemon itself: a process of their own
 * would take longer to start than they take. All others get one (aside.ts).
 */
import { SyscallError } from "#linux/ffi";
import {
  FileDescriptor,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openInRoot,
  openPath,
  readDirectory,
  S_IFDIR,
  S_IFREG,
  statFd,
  statPath,
} from "#linux/path";

import { peek } from "#wire/tar";

import type { AskedPath } from "./lookup.ts";
import type { Files } from "./view.ts";

/** What the daemon copies itself. */
const ENTRIES_LIMIT = 64;
const BYTES_LIMIT = 512 * 1024;

/** Whether reading what is at a path would take long. It is looked at no further than to the limits. */
export function isBulk({ rootFd }: Files, { path, follows }: AskedPath): boolean {
  try {
    const flags = O_PATH | (follows ? 0 : O_NOFOLLOW);
    using top = new FileDescriptor(openInRoot({ rootFd, path, flags }));
    const { mode, sizeBytes } = statFd(top.fd);
    if (!isType(mode, S_IFDIR)) return sizeBytes > BYTES_LIMIT;
    return exceeds(top.fd, { entries: ENTRIES_LIMIT, bytes: BYTES_LIMIT });
  } catch (error) {
    // Whoever reads it tells what is wrong.
    if (error instanceof SyscallError) return false;
    throw error;
  }
}

interface Room {
  entries: number;
  bytes: number;
}

/** Whether what is below a directory has no room. */
function exceeds(parentFd: number, room: Room): boolean {
  using directory = new FileDescriptor(openPath(".", O_RDONLY | O_DIRECTORY, 0, parentFd));
  for (const { name } of readDirectory(directory.fd)) {
    if ((room.entries -= 1) < 0) return true;
    const stat = statPath(name, directory.fd);
    if (stat === null) continue;
    if (isType(stat.mode, S_IFREG)) room.bytes -= stat.sizeBytes;
    if (room.bytes < 0) return true;
    if (!isType(stat.mode, S_IFDIR)) continue;
    using below = new FileDescriptor(
      openPath(name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, directory.fd),
    );
    if (exceeds(below.fd, room)) return true;
  }
  return false;
}

/** An archive that has begun to arrive. */
export interface Begun {
  readonly whole: ReadableStream<Uint8Array>;
  /** It is more than the daemon writes itself. */
  readonly isBulk: boolean;
}

/** Takes in so much of an archive that its size can be judged. A compressed one may be of any size. */
export async function begun(archive: ReadableStream<Uint8Array>): Promise<Begun> {
  const { kind, stream } = await peek(archive);
  if (kind !== "tar") return { whole: stream, isBulk: kind !== "other" && kind !== "json" };
  const reader = stream.getReader();
  const first: Uint8Array[] = [];
  let sizeBytes = 0;
  let hasEnded = false;
  while (!hasEnded && sizeBytes <= BYTES_LIMIT) {
    const { done, value } = await reader.read();
    if (done) hasEnded = true;
    else {
      first.push(value);
      sizeBytes += value.length;
    }
  }
  const whole = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const piece = first.shift() ?? (await reader.read()).value;
        if (piece === undefined) controller.close();
        else controller.enqueue(piece);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  return { whole, isBulk: !hasEnded };
}
