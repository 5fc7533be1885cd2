/**
 * `naru daemon`: opens the engine and serves its API, until it is told to end or is killed. Both are the same to
 * containers: they run on, and the next start finds them.
 */
import { chmodSync, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { kindOf, sentenceOf } from "#base";
import { type ApiServer, createApiServer } from "#servers/docker-api";

import { COMMIT, type Engine, openEngine, VERSION } from "./daemon-engine.ts";
import { helpText } from "./daemon-flags.ts";
import {
  giveToGroup,
  lockFolder,
  notifySystemd,
  removePidFile,
  takeActivationSockets,
  writePidFile,
} from "./daemon-host.ts";
import { DaemonLog } from "./daemon-log.ts";
import {
  type DaemonOptions,
  type Invocation,
  readInvocation,
  rereadOptions,
} from "./daemon-options.ts";
import { giveBackWhenIdle } from "./idle-memory.ts";

/** Docker's code for an engine that was asked for something wrong. */
const EXIT_USAGE = 125;
const SOCKET_MODE = 0o660;

/** Runs until a signal ends it. */
export async function run(args: readonly string[]): Promise<void> {
  const invocation = understand(args);
  switch (invocation.action) {
    case "help":
      console.log(helpText());
      return;
    case "version":
      console.log(`naru version ${VERSION}, build ${COMMIT}`);
      return;
    case "validate":
      console.log("configuration OK");
      return;
    case "run":
      await serve(args, invocation.options);
  }
}

function understand(args: readonly string[]): Invocation {
  try {
    return readInvocation(args);
  } catch (cause) {
    if (kindOf(cause) === "internal") throw cause;
    console.error(`${sentenceOf(cause)}\n\nSee 'naru daemon --help'.`);
    process.exit(EXIT_USAGE);
  }
}

async function serve(args: readonly string[], options: DaemonOptions): Promise<void> {
  const log = new DaemonLog(options.logLevel, options.logFormat);
  const ended = endOnSignal();
  reloadOnHangUp(args, log);
  surviveMistakes(log);
  try {
    const engine = await startEngine(options, log);
    const { servers } = await listen(options, engine, log);
    notifySystemd("READY=1");
    giveBackWhenIdle();
    log.info("the API is served", { hosts: options.hosts.map(nameOfHost).join(" ") });
    engine.containers.startByPolicy().catch((cause: unknown) => {
      log.error("starting containers by their policy", { error: sentenceOf(cause) });
    });
    log.info("ending: containers run on", { signal: await ended });
    notifySystemd("STOPPING=1");
    await Promise.all(servers.map((server) => server.close()));
    await engine.close();
    removePidFile(options.pidFile);
    process.exit(0);
  } catch (cause) {
    const stack = cause instanceof Error ? cause.stack : undefined;
    log.error(
      `failed to start the daemon: ${sentenceOf(cause)}`,
      log.level === "debug" ? { stack } : {},
    );
    removePidFile(options.pidFile);
    process.exit(1);
  }
}

async function startEngine(options: DaemonOptions, log: DaemonLog): Promise<Engine> {
  if (process.getuid?.() !== 0) throw new Error("naru daemon needs to be root");
  const { dataRoot, execRoot } = options;
  // Whoever may look into it could run a set-user-id program of an image (CVE-2021-41091).
  mkdirSync(dataRoot, { recursive: true, mode: 0o710 });
  // One that was there may have been made by hand.
  chmodSync(dataRoot, statSync(dataRoot).mode & 0o710);
  mkdirSync(execRoot, { recursive: true, mode: 0o711 });
  lockFolder(dataRoot, "data root");
  lockFolder(execRoot, "exec root");
  writePidFile(options.pidFile);
  log.info("starting", { version: VERSION, dataRoot, execRoot });
  return await openEngine(options, log);
}

type Target = { readonly path: string; readonly mode: number } | { readonly fd: number };

async function listen(
  options: DaemonOptions,
  engine: Engine,
  log: DaemonLog,
): Promise<{ servers: ApiServer[] }> {
  const activated = takeActivationSockets();
  const targets = options.hosts.flatMap((host): Target[] =>
    "path" in host ? [{ path: host.path, mode: SOCKET_MODE }] : activated.map((fd) => ({ fd })),
  );
  if (targets.length === 0) {
    throw new Error("fd:// was asked for, but systemd opened no socket: start naru.socket first");
  }
  const { containers, images, network, system, events, login, defaults } = engine;
  const servers: ApiServer[] = [];
  for (const target of targets) {
    const server = createApiServer({
      containers,
      images,
      networks: network,
      system,
      events,
      logger: log,
      login,
      defaults,
    });
    if ("path" in target) {
      mkdirSync(dirname(target.path), { recursive: true, mode: 0o755 });
      await server.listen(target);
      giveToGroup(target.path, options.group);
    } else await server.listen(target);
    servers.push(server);
  }
  return { servers };
}

const nameOfHost = (host: DaemonOptions["hosts"][number]): string =>
  "path" in host ? `unix://${host.path}` : "fd://";

/** Resolves with the signal that asks for the end; a second one ends at once. */
function endOnSignal(): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (asked) process.exit(1);
        asked = true;
        resolve(signal);
      });
    }
  });
}

/** A mistake of ours in one request is told, and costs nobody else their engine: what is true is in the records. */
function surviveMistakes(log: DaemonLog): void {
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(event, (cause: unknown) => {
      const stack = cause instanceof Error ? cause.stack : undefined;
      log.error(`${event}: ${sentenceOf(cause)}`, { stack });
    });
  }
}

/** What can change while it runs: how much is logged. The rest is said to need a restart. */
function reloadOnHangUp(args: readonly string[], log: DaemonLog): void {
  process.on("SIGHUP", () => {
    try {
      log.level = rereadOptions(args).logLevel;
      log.info("configuration read again: the log level is in force, the rest at the next start");
    } catch (cause) {
      log.error("configuration not read again", { error: sentenceOf(cause) });
    }
  });
}
