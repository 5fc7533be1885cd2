/**
 * Finds the supervisor of an exec-root, or starts one: in a session of its own, so that nothing that ends the daemon
 * ends it, and from a read-only mount of the binary.
 *
 *   <exec-root>/engine-<pid>     the binary, bind-mounted read-only for the moment of the start. The supervisor
 *                                keeps that mount alive, detached: whatever a container reaches through
 *                                /proc/<supervisor>/exe cannot be written (CVE-2019-5736)
 *   <exec-root>/supervisor.log   what it says
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";

import { EngineError, sentenceOf, unavailable } from "#base";
import { attempt, checked, cstring } from "#linux/ffi";

import { type ConnectOptions, connectSupervisor, type SupervisorClient } from "./client.ts";

/** Far beyond what a start takes on a busy machine: one that cannot start says so at once, by its end. */
const START_LIMIT_MS = 60_000;
const LOOK_MS = 2;
/** Before another is started in the place of one that was killed, or that found a living one. */
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 500;
const LOG_TAIL_CHARACTERS = 2000;
const MS_RDONLY = 0x1;
const MS_NOSUID = 0x2;
const MS_REMOUNT = 0x20;
const MS_BIND = 0x1000;
const MS_PRIVATE = 0x40000;
const MNT_DETACH = 2;

export interface EnsureOptions extends Omit<ConnectOptions, "socketPath"> {
  readonly execRoot: string;
  /** The program: the compiled engine, or bun itself when running from source. */
  readonly binary: string;
  /** What comes before `supervisor`: from source, the path of src/main.ts. */
  readonly prefixArguments?: readonly string[];
  /** What comes after: `--data-root`, `--log-level`. */
  readonly moreArguments?: readonly string[];
}

/** A connection to the living supervisor, started if there is none. @throws EngineError "unavailable" */
export async function ensureSupervisor(options: EnsureOptions): Promise<SupervisorClient> {
  const { execRoot, ...connection } = options;
  removeStaleImages(execRoot);
  const connect = () =>
    connectSupervisor({ ...connection, socketPath: join(execRoot, "supervisor.sock") });
  const running = await tryConnect(connect);
  if (running !== null) return running;

  mkdirSync(execRoot, { recursive: true, mode: 0o700 });
  using image = mountReadOnly(options.binary, join(execRoot, `engine-${process.pid}`));
  let child = spawn(image.path, options);
  let pauseMs = FIRST_PAUSE_MS;
  const end = performance.now() + START_LIMIT_MS;
  while (performance.now() < end) {
    const client = await tryConnect(connect);
    if (client !== null) {
      // Another start was faster: ours must not wait in the dark for its end.
      if (client.pid !== child.pid) child.kill("SIGKILL");
      return client;
    }
    const isKilled = child.signalCode !== null;
    // Exit code 75: another one was faster, and will answer unless it is killed as well. Any other: it cannot start.
    if (isKilled || child.exitCode === 75) {
      await Bun.sleep(pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      child = spawn(image.path, options);
    } else if (child.exitCode !== null) break;
    await Bun.sleep(LOOK_MS);
  }
  throw unavailable(`the supervisor does not start: ${logTail(execRoot)}`);
}

/**
 * Makes a living supervisor become another binary; its processes notice nothing.
 * @returns the new connection; the old one has ended
 * @throws EngineError "conflict" while someone is attached, "unavailable" when it did not happen
 */
export async function upgradeSupervisor(
  client: SupervisorClient,
  options: EnsureOptions,
): Promise<SupervisorClient> {
  const { execRoot, binary, prefixArguments = [], moreArguments = [], ...connection } = options;
  using image = mountReadOnly(binary, join(execRoot, `engine-${process.pid}`));
  const rest = ["supervisor", "--exec-root", execRoot, ...moreArguments];
  await client.request({ type: "upgrade", command: [image.path, ...prefixArguments, ...rest] });
  const isGone = await Promise.race([
    client.closed.then(() => true),
    Bun.sleep(START_LIMIT_MS).then(() => false),
  ]);
  if (!isGone) throw unavailable(`the supervisor was not upgraded: ${logTail(execRoot)}`);
  const socketPath = join(execRoot, "supervisor.sock");
  const end = performance.now() + START_LIMIT_MS;
  while (performance.now() < end) {
    const next = await tryConnect(() => connectSupervisor({ ...connection, socketPath }));
    if (next !== null) return next;
    await Bun.sleep(LOOK_MS);
  }
  throw unavailable(`the supervisor does not come back: ${logTail(execRoot)}`);
}

async function tryConnect(
  connect: () => Promise<SupervisorClient>,
): Promise<SupervisorClient | null> {
  try {
    return await connect();
  } catch (thrown) {
    if (thrown instanceof EngineError && thrown.kind === "unavailable") return null;
    throw thrown;
  }
}

function spawn(binary: string, options: EnsureOptions): Bun.Subprocess {
  const { execRoot, prefixArguments = [], moreArguments = [] } = options;
  // BUN_OPTIONS would run a stranger's code as root, BUN_BE_BUN would run bun instead of the engine.
  const { BUN_OPTIONS: _options, BUN_BE_BUN: _beBun, ...environment } = process.env;
  const log = openSync(join(execRoot, "supervisor.log"), "a", 0o600);
  try {
    const child = Bun.spawn(
      [binary, ...prefixArguments, "supervisor", "--exec-root", execRoot, ...moreArguments],
      {
        env: environment,
        cwd: "/",
        stdin: "ignore",
        stdout: log,
        stderr: log,
        detached: true, // setsid: no terminal's hang-up or Ctrl-C reaches it
      },
    );
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

/** A read-only view of the binary, which nobody who joins a container can make writable. */
function mountReadOnly(binary: string, path: string): { readonly path: string } & Disposable {
  const source = realpathSync(binary);
  const remove = () => removeImage(path);
  remove(); // what a crash left
  closeSync(openSync(path, "wx", 0o700));
  try {
    checked("mount", path, cstring(source), cstring(path), null, MS_BIND, null);
    // Private first: a shared mount would appear in other namespaces, where it is not detached with ours.
    checked("mount", path, null, cstring(path), null, MS_PRIVATE, null);
    const flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID;
    checked("mount", path, null, cstring(path), null, flags, null);
  } catch (thrown) {
    remove();
    throw thrown;
  }
  return { path, [Symbol.dispose]: remove };
}

function removeImage(path: string): void {
  while (attempt("umount2", cstring(path), MNT_DETACH) === 0);
  rmSync(path, { force: true });
}

/** Of daemons that were killed at this very moment: each has its own name, so no start would come upon them. */
function removeStaleImages(execRoot: string): void {
  const names = existsSync(execRoot) ? readdirSync(execRoot) : [];
  for (const name of names) {
    const pid = /^engine-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeImage(join(execRoot, name));
  }
}

function logTail(execRoot: string): string {
  try {
    return readFileSync(join(execRoot, "supervisor.log"), "utf8")
      .slice(-LOG_TAIL_CHARACTERS)
      .trim();
  } catch (thrown) {
    return sentenceOf(thrown);
  }
}
