/**
 * A supervisor for the tests of this room: the real server over a driver that only starts host programs, with
 * posix_spawn, so that they are our children and not Bun's.
 */
import { dlopen, ptr } from "bun:ffi";

import { Deliveries } from "#engine/log-delivery";
import { type Born, type ProcessStdio, RuntimeError, type RuntimeDriver } from "#engine/runtime";
import { allocate, attempt, cstring } from "#linux/ffi";
import { pidfdOpen } from "#linux/process";
import { openPty } from "#linux/pty";

import { AlreadyRunningError, EXIT_ALREADY_RUNNING, runSupervisor } from "./server.ts";

const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSID = 0x80;
const O_RDWR = 2;

const { symbols: libc } = dlopen("libc.so.6", {
  posix_spawnp: { args: ["ptr", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  posix_spawn_file_actions_init: { args: ["ptr"], returns: "i32" },
  posix_spawn_file_actions_adddup2: { args: ["ptr", "i32", "i32"], returns: "i32" },
  posix_spawn_file_actions_addopen: { args: ["ptr", "i32", "ptr", "i32", "i32"], returns: "i32" },
  posix_spawnattr_init: { args: ["ptr"], returns: "i32" },
  posix_spawnattr_setflags: { args: ["ptr", "i16"], returns: "i32" },
  posix_spawnattr_setsigdefault: { args: ["ptr", "ptr"], returns: "i32" },
  ptsname_r: { args: ["i32", "ptr", "u64"], returns: "i32" },
});

function vector(texts: readonly string[]): { pointers: BigUint64Array; keep: Uint8Array[] } {
  const keep = texts.map((text) => cstring(text));
  const pointers = new BigUint64Array(new ArrayBuffer(8 * (texts.length + 1)));
  keep.forEach((text, index) => {
    pointers[index] = BigInt(ptr(text));
  });
  return { pointers, keep };
}

function spawn(args: readonly string[], stdio: ProcessStdio): Born {
  const actions = allocate(128);
  const attributes = allocate(512);
  libc.posix_spawn_file_actions_init(ptr(actions));
  libc.posix_spawnattr_init(ptr(attributes));
  const keep: Uint8Array[] = [];
  let master: number | null = null;
  if (stdio.type === "pipes") {
    [stdio.stdin, stdio.stdout, stdio.stderr].forEach((descriptor, index) => {
      libc.posix_spawn_file_actions_adddup2(ptr(actions), descriptor, index);
    });
  } else {
    const pty = openPty(stdio);
    master = pty.master;
    const name = allocate(64);
    libc.ptsname_r(master, ptr(name), 64);
    keep.push(name);
    libc.posix_spawn_file_actions_addopen(ptr(actions), 0, ptr(name), O_RDWR, 0);
    libc.posix_spawn_file_actions_adddup2(ptr(actions), 0, 1);
    libc.posix_spawn_file_actions_adddup2(ptr(actions), 0, 2);
    attempt("close", pty.slave);
  }
  const everySignal = allocate(128).fill(0xff);
  libc.posix_spawnattr_setsigdefault(ptr(attributes), ptr(everySignal));
  const session = stdio.type === "terminal" ? POSIX_SPAWN_SETSID : 0;
  libc.posix_spawnattr_setflags(
    ptr(attributes),
    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | session,
  );
  const argv = vector(args);
  const envp = vector(["PATH=/usr/bin:/bin"]);
  const pid = allocate(4);
  const failed = libc.posix_spawnp(
    ptr(pid),
    ptr(cstring(args[0] ?? "")),
    ptr(actions),
    ptr(attributes),
    ptr(argv.pointers),
    ptr(envp.pointers),
  );
  keep.push(...argv.keep, ...envp.keep);
  if (failed !== 0) {
    if (master !== null) attempt("close", master);
    throw new RuntimeError("notFound", `exec: "${args[0]}": executable file not found in $PATH`);
  }
  const number = new DataView(pid.buffer).getInt32(0, true);
  return { pid: number, pidfd: pidfdOpen(number), ptyMaster: master, mountNamespace: null };
}

const driver: RuntimeDriver = {
  name: "test",
  birth: (request) => {
    request.prepare({ pid: process.pid, networkNamespace: -1 });
    return Promise.resolve(spawn(request.spec.process.args, request.stdio));
  },
  exec: (request) => Promise.resolve(spawn(request.process.args, request.stdio)),
  release: () => Promise.resolve(),
};

const [execRoot = "", offerWaitMs = "300"] = process.argv.slice(2);
try {
  const { stopped } = await runSupervisor({
    execRoot,
    offerWaitMs: Number(offerWaitMs),
    parts: {
      openDriver: () => driver,
      closeDrivers: () => undefined,
      takeSpareNamespace: () => null,
      isFor: () => false,
      buildNetwork: () => undefined,
      removeLinks: () => undefined,
      deliveries: new Deliveries({
        command: () => ["false"],
        root: `${execRoot}/log-spool`,
        warn: (message) => console.error(message),
      }),
      dns: {
        open: () => undefined,
        update: () => undefined,
        isOpen: () => false,
        close: () => undefined,
      },
      ports: { reserve: () => [], release: () => undefined, list: () => [] },
      cgroup: () => ({
        oomKills: () => 0,
        memoryEvents: () => null,
        killAll: () => Promise.resolve(),
        remove: () => Promise.resolve(true),
      }),
      log: (level, message) => console.error(`${level}: ${message}`),
    },
  });
  console.log("ready");
  await stopped;
  process.exit(0);
} catch (thrown) {
  if (!(thrown instanceof AlreadyRunningError)) throw thrown;
  process.exit(EXIT_ALREADY_RUNNING);
}
