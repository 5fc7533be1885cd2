/**
 * A new supervisor takes over what an earlier one left: living processes from their records and FIFOs, ends from
 * pidfds that the daemon kept, half-made births by removing them.
 *
 * What only the daemon can give (terminals, open stdin, unread output, the exit code of who is gone) comes with its
 * hello; it is waited for a moment, and only where something is missing without it.
 */
import { sentenceOf } from "#base";
import { attempt } from "#linux/ffi";
import { pidfdOpen, readBootId, readPidfdExitStatus, readStartTime } from "#linux/process";

import { closeDescriptor, takeDescriptor } from "./descriptors.ts";
import { type ProcessEnd, readForeignEnd, UNKNOWN_END } from "./end.ts";
import type { HandedProcess } from "./handover.ts";
import type { ProcessTable } from "./process-table.ts";
import type { ProcessIdentity } from "./process.ts";
import type { DescriptorOffer } from "./protocol.ts";
import { nameOf, type ProcessState, type Records } from "./records.ts";
import { reopenStdio, type StreamHandles } from "./stdio.ts";

/** How long a process whose pid is gone, or whose terminal is, waits for a daemon that kept a copy. */
const OFFER_WAIT_MS = 5000;

interface Waiting {
  readonly state: ProcessState;
  readonly identity: ProcessIdentity;
}

export interface Adoption {
  /** Copies what a daemon kept; its process is `pid`. */
  takeOffers(pid: number, offers: readonly DescriptorOffer[]): void;
  /** Resolves when everything left by the earlier supervisor is taken over. */
  readonly finished: Promise<void>;
}

export interface AdoptOptions {
  readonly records: Records;
  readonly table: ProcessTable;
  readonly warn: (message: string) => void;
  readonly offerWaitMs?: number;
  /** From the program that this process was before an upgrade. */
  readonly handed: readonly HandedProcess[];
}

export function adoptEarlier(options: AdoptOptions): Adoption {
  const { records, table, warn } = options;
  const states = new Map(records.listStates().map((state) => [nameOf(state.key), state]));
  const waiting = new Map<string, Waiting>();
  const removals: Promise<void>[] = [];
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>();

  const conclude = (
    name: string,
    process: Waiting,
    kept: KeptHandles,
    unfinished?: HandedProcess["unfinished"],
  ) => {
    waiting.delete(name);
    try {
      adoptOne({ records, table }, { ...process, unfinished }, kept);
    } catch (thrown) {
      warn(`take over ${name}: ${sentenceOf(thrown)}`);
    }
  };
  const settle = () => {
    clearTimeout(timer);
    for (const [name, process] of waiting) conclude(name, process, NOTHING_KEPT);
    finish(Promise.all(removals).then(() => records.removeStrays()));
  };

  const handed = new Map(options.handed.map((process) => [nameOf(process.key), process]));
  for (const { report } of records.listExits()) {
    table.adoptRecorded(report, states.get(nameOf(report.key))?.container ?? null);
    states.delete(nameOf(report.key));
  }
  for (const [name, state] of states) {
    if (state.born === null) {
      removals.push(table.removeHalfBorn(state));
      continue;
    }
    const process = { state, identity: { key: state.key, ...state.born } };
    waiting.set(name, process);
    const given = handed.get(name);
    if (given?.startTime === process.identity.startTime) {
      conclude(name, process, given.handles, given.unfinished);
      continue;
    }
    const isWhole = state.stdio.terminal === null && isAlive(process.identity);
    if (isWhole && !state.stdio.openStdin) conclude(name, process, NOTHING_KEPT);
  }
  const timer = setTimeout(settle, options.offerWaitMs ?? OFFER_WAIT_MS);
  if (waiting.size === 0) settle();

  return {
    finished,
    takeOffers: (pid, offers) => {
      if (waiting.size === 0) return;
      const pidfd = pidfdOpen(pid);
      try {
        for (const offer of offers) {
          const name = nameOf(offer.key);
          const process = waiting.get(name);
          if (process?.identity.startTime !== offer.startTime) continue;
          conclude(name, process, takeKept(pidfd, offer));
        }
      } finally {
        closeDescriptor(pidfd);
      }
      settle();
    },
  };
}

interface KeptHandles extends StreamHandles {
  readonly pidfd: number | null;
}

const NOTHING_KEPT: KeptHandles = {
  pidfd: null,
  ptyMaster: null,
  stdin: null,
  stdout: null,
  stderr: null,
};

function takeKept(daemon: number, offer: DescriptorOffer): KeptHandles {
  const { pidfd, ptyMaster, stdin, stdout, stderr } = offer.descriptors;
  return {
    pidfd: takeDescriptor(daemon, pidfd),
    ptyMaster: takeDescriptor(daemon, ptyMaster),
    stdin: takeDescriptor(daemon, stdin),
    stdout: takeDescriptor(daemon, stdout),
    stderr: takeDescriptor(daemon, stderr),
  };
}

function adoptOne(
  { records, table }: { records: Records; table: ProcessTable },
  request: Waiting & { readonly unfinished: HandedProcess["unfinished"] | undefined },
  kept: KeptHandles,
): void {
  const { state, identity, unfinished } = request;
  const pidfd = kept.pidfd ?? openPidfd(identity);
  if (pidfd === null) {
    table.adoptEnded(identity, state.container, endWithoutPidfd(identity));
    for (const descriptor of Object.values(kept))
      if (descriptor !== null) closeDescriptor(descriptor);
    return;
  }
  const opened = reopenStdio(records.folder(state.key), state.stdio);
  const pick = (name: keyof StreamHandles) => {
    const [first, second] = [kept[name], opened[name]];
    if (first !== null && second !== null) closeDescriptor(second);
    return first ?? second;
  };
  table.adopt({
    identity,
    stdio: state.stdio,
    container: state.container,
    ...(unfinished === undefined ? {} : { unfinished }),
    pidfd,
    handles: {
      ptyMaster: pick("ptyMaster"),
      stdin: pick("stdin"),
      stdout: pick("stdout"),
      stderr: pick("stderr"),
    },
  });
}

const isAlive = (identity: ProcessIdentity): boolean =>
  identity.bootId === readBootId() && readStartTime(identity.pid) === identity.startTime;

/** A pidfd of exactly that process (or its zombie); null when it is gone. */
function openPidfd(identity: ProcessIdentity): number | null {
  if (!isAlive(identity)) return null;
  const pidfd = attempt("pidfd_open", identity.pid, 0);
  if (pidfd < 0) return null;
  // The pid may have been given away between the look and the open.
  if (isAlive(identity)) return pidfd;
  const isSame = readPidfdExitStatus(pidfd) !== null;
  if (isSame) return pidfd;
  closeDescriptor(pidfd);
  return null;
}

const endWithoutPidfd = (identity: ProcessIdentity): ProcessEnd =>
  identity.bootId === readBootId() ? (readForeignEnd(identity, null) ?? UNKNOWN_END) : UNKNOWN_END;
