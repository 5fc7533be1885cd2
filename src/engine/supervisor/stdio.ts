/**
 * The three standard streams of a process that is about to be born.
 *
 *   <folder>/stdout, stderr   FIFOs. The process holds them O_RDWR: it never gets SIGPIPE, and what it wrote waits
 *                             while no supervisor lives. We hold O_RDONLY, so the end of the last writer is told.
 *   <folder>/stdin            a FIFO, O_RDONLY in the process, so that our closing is its end of file. Unlinked when
 *                             closed: it is never opened again.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";

import type { ProcessStdio } from "#engine/runtime";

import {
  closeDescriptor,
  makeFifo,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  openDescriptor,
  openForOther,
  setNonBlocking,
} from "./descriptors.ts";
import type { StdioRequest } from "./protocol.ts";

/** Our ends, non-blocking. A terminal has `ptyMaster` and nothing else. */
export interface StreamHandles {
  readonly ptyMaster: number | null;
  readonly stdin: number | null;
  readonly stdout: number | null;
  readonly stderr: number | null;
}

export interface PreparedStdio {
  readonly forDriver: ProcessStdio;
  readonly handles: StreamHandles;
  /** The process has its own by now. */
  closeTheirs(): void;
  /** There will be no process. */
  abandon(): void;
}

export function prepareStdio(folder: string, request: StdioRequest): PreparedStdio {
  if (request.terminal !== null) {
    return {
      forDriver: { type: "terminal", ...request.terminal },
      handles: { ptyMaster: null, stdin: null, stdout: null, stderr: null },
      closeTheirs: () => undefined,
      abandon: () => undefined,
    };
  }
  const ours: number[] = [];
  const theirs: number[] = [];
  const close = (descriptors: number[]) => descriptors.splice(0).forEach(closeDescriptor);
  const keep = (list: number[], descriptor: number) => {
    list.push(descriptor);
    return descriptor;
  };
  const output = (name: string) => {
    const path = join(folder, name);
    makeFifo(path);
    const reader = keep(ours, openDescriptor(path, O_RDONLY | O_NONBLOCK));
    return { reader, writer: keep(theirs, openForOther(path, O_RDWR)) };
  };
  const input = () => {
    if (!request.openStdin) {
      return { writer: null, reader: keep(theirs, openForOther("/dev/null", O_RDONLY)) };
    }
    const path = join(folder, "stdin");
    makeFifo(path);
    // Without O_NONBLOCK the open would wait for a writer, and without a reader ours would fail.
    const reader = keep(theirs, openForOther(path, O_RDONLY | O_NONBLOCK));
    const writer = keep(ours, openDescriptor(path, O_WRONLY | O_NONBLOCK));
    setNonBlocking(reader, false);
    return { writer, reader };
  };
  try {
    const stdout = output("stdout");
    const stderr = output("stderr");
    const stdin = input();
    return {
      forDriver: {
        type: "pipes",
        stdin: stdin.reader,
        stdout: stdout.writer,
        stderr: stderr.writer,
      },
      handles: {
        ptyMaster: null,
        stdin: stdin.writer,
        stdout: stdout.reader,
        stderr: stderr.reader,
      },
      closeTheirs: () => close(theirs),
      abandon: () => {
        close(theirs);
        close(ours);
      },
    };
  } catch (thrown) {
    close(theirs);
    close(ours);
    throw thrown;
  }
}

/** Our ends of a process that an earlier supervisor gave birth to; null where it is closed for good. */
export function reopenStdio(folder: string, request: StdioRequest): StreamHandles {
  const open = (name: string, flags: number) => {
    try {
      return openDescriptor(join(folder, name), flags | O_NONBLOCK);
    } catch {
      return null; // closed and unlinked, or nobody reads it any more
    }
  };
  if (request.terminal !== null)
    return { ptyMaster: null, stdin: null, stdout: null, stderr: null };
  return {
    ptyMaster: null,
    stdin: request.openStdin ? open("stdin", O_WRONLY) : null,
    stdout: open("stdout", O_RDONLY),
    stderr: open("stderr", O_RDONLY),
  };
}

/** So that no later supervisor opens it again. */
export const forgetStdin = (folder: string): void => rmSync(join(folder, "stdin"), { force: true });
