/**
 * `naru daemon`: opens the engine and serves its API, until it is told to end or is killed. Both are the same to
 * containers: they run on, and the next start finds them.
 */
import { chmodSync, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { kindOf, sentenceOf, unavailable } from "#base";
import type { EngineMetrics } from "#servers/metrics";
import { keepListenersAlive, keepSocketAlive, widenBacklogs } from "#linux/process";
import { type ApiServer, Authorizer, createApiServer, type TlsIdentity } from "#servers/docker-api";

import { buildKitOf } from "./daemon-buildkit.ts";
import { type Engine, openEngine } from "./daemon-engine.ts";
import { COMMIT, VERSION } from "./daemon-identity.ts";
import { helpText } from "./daemon-flag-parser.ts";
import {
  chooseSockets,
  giveToGroup,
  lockFolder,
  machineIsEnding,
  notifyReloading,
  notifySystemd,
  removePidFile,
  takeActivationSockets,
  writePidFile,
} from "./daemon-host.ts";
import { nameOfHost, readTlsIdentity } from "./daemon-hosts.ts";
import { DaemonLog } from "./daemon-log.ts";
import { listenForMetrics, openMetrics } from "./daemon-metrics.ts";
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
    case "doctor":
      await (await import("./doctor.ts")).doctor(invocation.options, invocation.form);
      return;
    case "uninstall":
      await (await import("./uninstall.ts")).uninstall(invocation.options);
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
  const log = new DaemonLog(options.logLevel, options);
  const ended = endOnSignal();
  surviveMistakes(log);
  applyProxies(options);
  try {
    // What is wrong with certificates or addresses is known before anything is touched.
    const tls = options.tls === null ? null : readTlsIdentity(options.tls);
    warnOfOpenPorts(options, log);
    const metrics = await openMetrics(options);
    const engine = await startEngine(options, log, metrics);
    const metricsServer = await listenForMetrics(metrics, { options, engine, log });
    reloadOnHangUp(args, { engine, log });
    const server = await listen({ options, tls, engine, log });
    notifySystemd("READY=1");
    giveBackWhenIdle();
    log.info("the API is served", { hosts: options.hosts.map(nameOfHost).join(" ") });
    engine.containers.startByPolicy().catch((cause: unknown) => {
      log.error("starting containers by their policy", { error: sentenceOf(cause) });
    });
    const signal = await ended;
    notifySystemd("STOPPING=1");
    await server.close();
    await metricsServer?.close();
    await leaveContainers(engine, { signal, log });
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

async function startEngine(
  options: DaemonOptions,
  log: DaemonLog,
  metrics: EngineMetrics | null,
): Promise<Engine> {
  if (process.getuid?.() !== 0) throw new Error("naru daemon needs to be root");
  const { dataRoot, execRoot } = options;
  // Whoever may look into it could run a set-user-id program of an image (CVE-2021-41091).
  mkdirSync(dataRoot, { recursive: true, mode: 0o710 });
  // One that was there may have been made by hand.
  chmodSync(dataRoot, statSync(dataRoot).mode & 0o710);
  mkdirSync(execRoot, { recursive: true, mode: 0o711 });
  await lockFolder(dataRoot, "data root");
  await lockFolder(execRoot, "exec root");
  writePidFile(options.pidFile);
  log.info("starting", { version: VERSION, dataRoot, execRoot });
  return await openEngine(options, log, metrics);
}

interface ListenRequest {
  readonly options: DaemonOptions;
  readonly tls: TlsIdentity | null;
  readonly engine: Engine;
  readonly log: DaemonLog;
}

async function listen({ options, tls, engine, log }: ListenRequest): Promise<ApiServer> {
  const { containers, images, builds, network, volumes, system, events } = engine;
  const { login, inspectRemote, defaults } = engine;
  const authorizer = new Authorizer(() => engine.currentOptions().authorizationPlugins);
  await authorizer.check();
  const server = createApiServer({
    authorizer,
    containers,
    images,
    builds,
    openBuildKit: buildKitOf(engine, options),
    networks: network,
    volumes,
    system,
    events,
    logger: log,
    login,
    inspectRemote,
    defaults,
    settled: engine.settled,
  });
  const activated = takeActivationSockets();
  for (const host of options.hosts) {
    switch (host.kind) {
      case "unix":
        mkdirSync(dirname(host.path), { recursive: true, mode: 0o755 });
        await server.listen({ path: host.path, mode: SOCKET_MODE });
        giveToGroup(host.path, options.group);
        break;
      case "tcp":
        keepListenersAlive(
          (await server.listen({ host: host.address, port: host.port, tls })) ?? host.port,
        );
        break;
      case "activation":
        for (const socket of chooseSockets(activated, host.fd)) {
          if (socket.network === "unix") await server.listen({ ...socket, tls: null });
          else {
            warnOfOpenPort(`fd://${socket.fd}`, socket.loopback, { options, log });
            keepSocketAlive(socket.fd);
            await server.listen({ fd: socket.fd, network: "tcp", tls });
          }
        }
    }
    log.info(`API listen on ${nameOfHost(host)}`);
  }
  widenBacklogs();
  return server;
}

/**
 * A port without clients' certificates is root for whoever reaches it. On loopback that is said aloud, as Docker
 * does; elsewhere Docker waits 16 seconds and opens the port all the same: here somebody must have asked for it.
 */
function warnOfOpenPorts(options: DaemonOptions, log: DaemonLog): void {
  for (const host of options.hosts) {
    if (host.kind !== "tcp") continue;
    warnOfOpenPort(nameOfHost(host), isLoopback(host.address), { options, log });
  }
}

function warnOfOpenPort(
  name: string,
  loopback: boolean,
  { options, log }: { options: DaemonOptions; log: DaemonLog },
): void {
  if (options.tls !== null && options.tls.clientAuthority !== null) return;
  if (!loopback && !options.tlsRefused) {
    throw unavailable(
      `${name}: binding to an IP address without --tlsverify gives root access on this machine to everyone who can reach it. Use --tlsverify with certificates, or say --tls=false or --tlsverify=false to do it all the same`,
    );
  }
  log.warn(
    "Binding to IP address without --tlsverify is insecure and gives root access on this machine to everyone who has access to your network.",
    { host: name },
  );
  log.warn(
    "Binding to an IP address, even on localhost, can also give access to scripts run in a browser. Be safe out there!",
    { host: name },
  );
}

const isLoopback = (address: string): boolean =>
  address === "localhost" || address === "::1" || /^127(\.\d{1,3}){3}$/.test(address);

/** Bun's fetch asks the environment for its proxies, as Go does. */
function applyProxies({ proxies }: DaemonOptions): void {
  const named = { HTTP_PROXY: proxies.http, HTTPS_PROXY: proxies.https, NO_PROXY: proxies.none };
  for (const [name, value] of Object.entries(named)) {
    if (value !== "") process.env[name] = value;
  }
}

/** With live restore containers run on; without, they are stopped as at the end of a Docker. */
async function leaveContainers(
  engine: Engine,
  { signal, log }: { signal: string; log: DaemonLog },
): Promise<void> {
  const { liveRestore, shutdownTimeoutSeconds: graceSeconds } = engine.currentOptions();
  // Containers that are left to systemd's last killing never get their own stop signal, and hold the machine up.
  if (liveRestore && !(await machineIsEnding())) {
    log.info("ending: containers run on", { signal });
    return;
  }
  log.info("ending: containers are stopped", { signal, graceSeconds });
  const all = await engine.containers.stopAll({ graceSeconds });
  if (!all) log.error("Force shutdown daemon: some containers did not stop in time");
}

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

/** What dockerd reads again at a SIGHUP is in force at once; the rest at the next start. */
function reloadOnHangUp(
  args: readonly string[],
  { engine, log }: { engine: Engine; log: DaemonLog },
): void {
  const level = log.level;
  process.on("SIGHUP", () => {
    notifyReloading();
    try {
      log.info("Got signal to reload configuration, reloading");
      engine.reload(rereadOptions(args));
      const { debug } = engine.currentOptions();
      if (debug) log.level = "debug";
      else log.level = level === "debug" ? "info" : level;
    } catch (cause) {
      log.error("the configuration was not read again", { error: sentenceOf(cause) });
    }
    notifySystemd("READY=1");
  });
}
