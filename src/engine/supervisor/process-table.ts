/**
 * Every process the supervisor knows: being born, alive, or ended and not yet forgotten.
 *
 * A container's folder, cgroup and links outlive its announced exit by a moment (teardown is not on the caller's
 * path); `forget` and the next birth of the same id wait for it.
 */
import type { ContainerDns, SpareNamespace } from "#engine/network";
import { openNamespace } from "#linux/namespace";
import { FileDescriptor } from "#linux/path";
import { assert, conflict, type Later, later, nothingLater, sentenceOf } from "#base";
import { timeNow } from "#engine/logs";
import type { BirthRequest, Born } from "#engine/runtime";
import { readBootId, readStartTime } from "#linux/process";

import { type BirthAhead, BirthsAhead } from "./ahead.ts";
import { containerOf, jobOf, makesNetwork, type RemoteLog } from "./birth-message.ts";
import type { Attacher } from "./attacher.ts";
import { setNonBlocking } from "./descriptors.ts";
import { exitOf, type ProcessEnd } from "./end.ts";
import { noSuchProcess } from "./failures.ts";
import { ForeignExits } from "./foreign-exits.ts";
import type { HandedProcess } from "./handover.ts";
import { MemoryWatch } from "./memory-watch.ts";
import type { SupervisorParts } from "./parts.ts";
import { Checkpoints, restoreWith } from "./checkpoints.ts";
import { type ProcessIdentity, SupervisedProcess } from "./process.ts";
import type {
  AnnouncedBirth,
  AnnounceMessage,
  BirthMessage,
  CheckpointMessage,
  ExecMessage,
  ExpectMessage,
  ExitReport,
  ProcessKey,
  ProcessReport,
  StdioRequest,
  SupervisorEvent,
  SupervisorNotice,
} from "./protocol.ts";
import { openLog, reopenLog, writeLastWords } from "./log-of.ts";
import type { OutputLedger } from "./output-ledger.ts";
import type { Readiness } from "./readiness.ts";
import { type ContainerState, nameOf, type ProcessState, Records } from "./records.ts";
import { takeTrees } from "./lent-trees.ts";
import { removeInTime, StallingBirths } from "./stalling-births.ts";
import { tearDown, type TeardownRequest } from "./teardown.ts";
import { forgetStdin, type PreparedStdio, prepareStdio, type StreamHandles } from "./stdio.ts";

/** Clients that wait for one birth, and births that are waited for: more is a mistake, not a use. */
const EARLY_ATTACHERS_LIMIT = 256;
/** Whoever was told of the end goes on first; `forget` and another birth do not wait for this. */
const TEARDOWN_DELAY_MS = 15;

export interface ProcessTableOptions {
  readonly records: Records;
  readonly readiness: Readiness;
  /** Null where none can be kept. */
  readonly ledger: OutputLedger | null;
  readonly parts: SupervisorParts;
  readonly announce: (event: SupervisorEvent) => void;
  readonly notify: (notice: SupervisorNotice) => void;
}

type Entry =
  | { readonly state: "beingBorn" }
  | {
      readonly state: "alive";
      readonly process: SupervisedProcess;
      readonly container: ContainerState | null;
    }
  | {
      readonly state: "ended";
      readonly report: ProcessReport;
      readonly process: SupervisedProcess | null;
      /** Never rejects. */
      readonly teardown: Later<void>;
    };

export class ProcessTable {
  readonly #options: ProcessTableOptions;
  readonly #entries = new Map<string, Entry>();
  /** Births that were told to come, with their runtimes. */
  readonly #expected = new Map<string, string>();
  readonly #ahead: BirthsAhead;
  readonly #early = new Map<string, Set<Attacher>>();
  readonly stalling = new StallingBirths();
  readonly checkpoints = new Checkpoints();
  readonly #memory: MemoryWatch;
  readonly #foreign = new ForeignExits();

  constructor(options: ProcessTableOptions) {
    this.#options = options;
    this.#memory = new MemoryWatch({ ...options, warn: this.#warn.bind(this) });
    this.#ahead = new BirthsAhead(options);
  }

  get livingCount(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.state !== "ended") count += 1;
    return count;
  }

  /** The pids of living processes: whose exits are awaited elsewhere. */
  pids(): Set<number> {
    const pids = new Set<number>();
    for (const entry of this.#entries.values()) {
      if (entry.state === "alive") pids.add(entry.process.identity.pid);
    }
    if (this.#ahead.pid !== null) pids.add(this.#ahead.pid);
    return pids;
  }

  get isBirthUnderWay(): boolean {
    return this.#entries.values().some((entry) => entry.state === "beingBorn");
  }

  /** Every living process, for a successor. @throws EngineError "conflict" when this is not the moment */
  async handOver(): Promise<() => HandedProcess[]> {
    await this.#ahead.drop();
    for (const entry of this.#entries.values())
      if (entry.state === "ended") await entry.teardown.now();
    return () => {
      const isBusy = this.isBirthUnderWay || this.#early.size > 0 || this.checkpoints.areUnderWay;
      const alive = this.#entries.values().filter((entry) => entry.state === "alive");
      const processes = [...alive].map(({ process }) => process);
      if (isBusy || processes.some((process) => !process.isQuiet)) {
        throw conflict("the supervisor is in use: someone is attached, or something starts");
      }
      return processes.map((process) => process.handOver());
    };
  }

  list(): ProcessReport[] {
    const reports: ProcessReport[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.state === "alive") reports.push(entry.process.report());
      else if (entry.state === "ended") reports.push(entry.report);
    }
    return reports;
  }

  /** Lets the driver begin. An earlier life of the same id may still be on its way out: then nothing is made. */
  async expect(message: ExpectMessage): Promise<void> {
    // Announced before, by a daemon that died since: its cgroup has the same name.
    await this.#ahead.drop(message.id);
    const driver = this.#options.parts.openDriver(message.runtime);
    if (driver.expect === undefined || this.#entries.has(message.id)) return;
    this.#expected.set(message.id, message.runtime);
    driver.expect(message);
  }

  announce(message: AnnounceMessage): void {
    if (!this.#entries.has(message.id)) this.#ahead.announce(message);
  }

  /** Ends the process that waits for a birth to be asked for. */
  dropAnnounced(): Promise<void> {
    return this.#ahead.drop();
  }

  async birth(asked: BirthMessage | AnnouncedBirth): Promise<ProcessReport> {
    if (asked.spec === null) return await this.#goOn(asked);
    const message: BirthMessage = asked;
    this.#expected.delete(message.id);
    await this.#ahead.drop(message.id);
    const key = { id: message.id };
    const { records, parts } = this.#options;
    await this.#makeRoom(key);
    if (message.log.driver === "remote") await this.#openDelivery(key, message.log);
    return await this.#bear(key, message.stdio, containerOf(message), async ({ stdio }) => {
      records.writeSpec(message.id, message.spec);
      const driver = parts.openDriver(message.runtime);
      const mayTake = driver.takesNetworkNamespace === true && makesNetwork(message.spec);
      using lent = takeTrees(message.trees);
      using spare = mayTake ? parts.takeSpareNamespace(message.network) : null;
      using patience = this.stalling.begin(message);
      const request: BirthRequest = {
        id: message.id,
        spec: message.spec,
        root: message.root,
        identity: message.identity,
        stdio: stdio.forDriver,
        scratch: records.scratch(key),
        init: message.init,
        networkNamespace: spare?.namespace ?? null,
        ...(lent === null ? {} : { openTrees: lent.trees }),
        ...(patience === null ? {} : { signal: patience.signal }),
        prepare: (child) => this.#buildNetwork(message, spare, child),
      };
      const { images } = message;
      if (images === undefined) return await driver.birth(request);
      return await restoreWith(driver, { ...request, images });
    });
  }

  /** The birth that waits for this. */
  async #goOn(asked: AnnouncedBirth): Promise<ProcessReport> {
    const { id } = asked;
    const ahead = await this.#ahead.take(asked);
    this.#entries.set(id, { state: "beingBorn" });
    using spare = ahead.spare;
    const { stdio, spec } = ahead.message;
    const container = containerOf({ ...ahead.message, ...asked, spec });
    const goOn = () => ahead.begun.complete((child) => this.#buildNetwork(asked, spare, child));
    return await this.#bear({ id }, stdio, container, goOn, ahead);
  }

  #buildNetwork(
    { id, network, dns }: Pick<BirthMessage, "id" | "network" | "dns">,
    spare: SpareNamespace | null,
    child: Parameters<BirthRequest["prepare"]>[0],
  ): void {
    const { parts } = this.#options;
    parts.buildNetwork({ ...child, attachment: network, spare });
    const { networkNamespace } = child;
    if (dns !== undefined) parts.dns.open(id, { networkNamespace, dns });
  }

  async checkpoint(message: CheckpointMessage): Promise<void> {
    const { process, container } = this.#runningContainer(message.id);
    const { records, parts } = this.#options;
    await this.checkpoints.write(parts.openDriver(container.runtime), message, {
      pid: process.identity.pid,
      spec: records.readSpec(message.id),
      streams: records.folder({ id: message.id }),
    });
  }

  #runningContainer(id: string): { process: SupervisedProcess; container: ContainerState } {
    const owner = this.#entries.get(id);
    if (owner?.state !== "alive") throw conflict(`container ${id} is not running`);
    const { process, container } = owner;
    assert(container !== null, "an init without its container");
    return { process, container };
  }

  async exec(message: ExecMessage): Promise<ProcessReport> {
    const { process, container } = this.#runningContainer(message.id);
    const key = { id: message.id, execId: message.execId };
    await this.#makeRoom(key);
    const { records, parts } = this.#options;
    return await this.#bear(key, message.stdio, null, async ({ stdio }) =>
      parts.openDriver(container.runtime).exec({
        id: message.id,
        pidfd: process.pidfd,
        pid: process.identity.pid,
        spec: records.readSpec(message.id),
        process: message.process,
        identity: message.identity,
        stdio: stdio.forDriver,
        // The container's own: an OCI runtime keeps its state there.
        scratch: records.scratch({ id: message.id }),
      }),
    );
  }

  /** @throws EngineError "notFound", "conflict" when it has ended */
  living(key: ProcessKey): SupervisedProcess {
    const entry = this.#entries.get(nameOf(key));
    if (entry === undefined) throw noSuchProcess(key);
    if (entry.state !== "alive") throw conflict(`container ${key.id} is not running`);
    return entry.process;
  }

  /** Joins an attacher to a living process, or lets it wait for a birth. @throws EngineError */
  attach(attacher: Attacher): void {
    const { key, beforeBirth } = attacher.hello;
    const entry = this.#entries.get(nameOf(key));
    if (entry?.state === "alive") {
      entry.process.attach(attacher);
      return;
    }
    if (!beforeBirth && entry?.state !== "beingBorn") {
      if (entry === undefined) throw noSuchProcess(key);
      throw conflict(`container ${key.id} is not running`);
    }
    const waiting = this.#early.get(nameOf(key)) ?? new Set();
    if (waiting.size >= EARLY_ATTACHERS_LIMIT || this.#early.size > 4096) {
      throw conflict("too many attachments wait for a start");
    }
    waiting.add(attacher);
    this.#early.set(nameOf(key), waiting);
  }

  /** An attacher that waited for a birth is gone. */
  leave(attacher: Attacher): void {
    const name = nameOf(attacher.hello.key);
    const waiting = this.#early.get(name);
    waiting?.delete(attacher);
    if (waiting?.size === 0) this.#early.delete(name);
  }

  /** The daemon has stored the exit. @throws EngineError "conflict" while it lives */
  async forget(key: ProcessKey): Promise<void> {
    const name = nameOf(key);
    const entry = this.#entries.get(name);
    if (entry === undefined) return await this.#stopExpecting(key);
    if (entry.state !== "ended") throw conflict(`process ${name} is running`);
    await entry.teardown.now();
    if (this.#entries.get(name) !== entry) return;
    entry.process?.closeStreams();
    this.#entries.delete(name);
    this.#options.records.removeExit(key);
    this.#options.records.removeFolder(key);
  }

  async #stopExpecting(key: ProcessKey): Promise<void> {
    if (key.execId !== undefined) return;
    await this.#ahead.drop(key.id);
    const runtime = this.#expected.get(key.id);
    if (runtime === undefined) return;
    this.#expected.delete(key.id);
    const scratch = this.#options.records.scratch(key);
    await this.#options.parts.openDriver(runtime).release({ id: key.id, scratch });
  }

  /** A process that an earlier supervisor gave birth to and that lives. */
  adopt(request: {
    readonly identity: ProcessIdentity;
    readonly stdio: StdioRequest;
    readonly container: ContainerState | null;
    readonly pidfd: number;
    readonly handles: StreamHandles;
    /** What an upgraded supervisor had read already. */
    readonly unfinished?: HandedProcess["unfinished"];
  }): void {
    const { identity, container, stdio, pidfd, handles } = request;
    const target = container?.log;
    if (target?.driver === "remote") {
      // Its server may be away just now: that is no reason for anything to end.
      this.#options.parts.deliveries
        .open(jobOf(target), { mustConnect: false })
        .catch((thrown: unknown) => this.#warn(`deliver the log of ${identity.key.id}`, thrown));
    }
    const log = reopenLog({ ...this.#options, ...request, key: identity.key });
    const hooks = this.#hooks(container);
    const process = new SupervisedProcess({
      identity,
      stdio,
      pidfd,
      handles,
      readEnd: this.#foreign.reader(identity, pidfd),
      mountNamespace: null,
      ...hooks,
      log,
    });
    this.#entries.set(nameOf(identity.key), { state: "alive", process, container });
    this.#memory.watch(identity.key, container);
    if (container?.dns !== undefined) this.#reopenDns(identity, container.dns);
  }

  /** The earlier supervisor's sockets ended with it; the namespace is the process' own. */
  #reopenDns({ key, pid }: ProcessIdentity, dns: ContainerDns): void {
    try {
      using namespace = new FileDescriptor(openNamespace(pid, "net"));
      this.#options.parts.dns.open(key.id, { networkNamespace: namespace.fd, dns });
    } catch (thrown) {
      this.#warn(`open the resolver of ${key.id}`, thrown);
    }
  }

  /** Who a container finds by name, and who finds it, from now on. @throws EngineError */
  setDns(id: string, dns: ContainerDns): void {
    const entry = this.#entries.get(id);
    const process = this.living({ id });
    if (entry?.state !== "alive" || entry.container === null) return;
    const { identity } = process;
    const container = { ...entry.container, dns };
    this.#entries.set(id, { ...entry, container });
    const { key, ...born } = identity;
    this.#options.records.writeState({ version: 1, key, stdio: process.stdio, born, container });
    if (this.#options.parts.dns.isOpen(id)) this.#options.parts.dns.update(id, dns);
    else this.#reopenDns(identity, dns);
  }

  /** One that ended while no supervisor lived. */
  adoptEnded(identity: ProcessIdentity, container: ContainerState | null, end: ProcessEnd): void {
    const oomKilled = this.#memory.end(identity.key, container);
    writeLastWords({ ...this.#options, key: identity.key, container });
    this.#settle({ identity, container, exit: exitOf(identity, end, oomKilled), process: null });
  }

  /** An exit that is on record already: only the clean-up may be missing. */
  adoptRecorded(report: ProcessReport, container: ContainerState | null): void {
    const teardown =
      container === null ? nothingLater : later(0, () => this.#tearDown(report.key, container));
    this.#entries.set(nameOf(report.key), { state: "ended", report, process: null, teardown });
  }

  /** A birth that a crash interrupted: nobody was told of it, so nothing may be left of it. */
  async removeHalfBorn(state: ProcessState): Promise<void> {
    if (state.container !== null) await this.#tearDown(state.key, state.container);
    this.#options.records.removeFolder(state.key);
  }

  /** Waits until an earlier life of the same key has left, and takes its place. */
  async #makeRoom(key: ProcessKey): Promise<void> {
    const name = nameOf(key);
    const entry = this.#entries.get(name);
    if (entry?.state === "ended") await this.forget(key);
    if (this.#entries.has(name)) throw conflict(`process ${name} is already running`);
    this.#entries.set(name, { state: "beingBorn" });
  }

  async #bear(
    key: ProcessKey,
    stdio: StdioRequest,
    container: ContainerState | null,
    bear: (request: { stdio: PreparedStdio }) => Promise<Born>,
    ahead: BirthAhead | null = null,
  ): Promise<ProcessReport> {
    const name = nameOf(key);
    const { records } = this.#options;
    let prepared: PreparedStdio | null = ahead?.stdio ?? null;
    try {
      if (ahead === null) records.makeFolder(key);
      records.writeState({ version: 1, key, stdio, born: null, container });
      prepared ??= prepareStdio(records.folder(key), stdio);
      const born = await bear({ stdio: prepared });
      prepared.closeTheirs();
      return this.#settleBirth({ key, stdio, container, born, handles: prepared.handles });
    } catch (thrown) {
      prepared?.abandon();
      await this.#undoBirth(key, container);
      this.#entries.delete(name);
      this.#endEarly(name);
      throw thrown;
    }
  }

  #settleBirth(request: {
    key: ProcessKey;
    stdio: StdioRequest;
    container: ContainerState | null;
    born: Born;
    handles: StreamHandles;
  }): ProcessReport {
    const { key, stdio, container, born } = request;
    const named = {
      pid: born.pid,
      // A process that ended at once is a zombie of ours: it still has its start time.
      startTime: readStartTime(born.pid) ?? "0",
      bootId: readBootId(),
      startedAt: timeNow(),
    };
    if (born.ptyMaster !== null) setNonBlocking(born.ptyMaster, true);
    const process = new SupervisedProcess({
      identity: { key, ...named },
      stdio,
      pidfd: born.pidfd,
      mountNamespace: born.mountNamespace,
      handles: { ...request.handles, ptyMaster: born.ptyMaster },
      log: openLog(this.#options.parts, container),
      ...this.#hooks(container),
    });
    this.#entries.set(nameOf(key), { state: "alive", process, container });
    this.#joinEarly(process);
    this.#memory.watch(key, container);
    this.#options.records.writeState({ version: 1, key, stdio, born: named, container });
    return process.report();
  }

  async #undoBirth(key: ProcessKey, container: ContainerState | null): Promise<void> {
    const isStuck = this.stalling.forget(nameOf(key));
    if (container !== null) await this.#tearDown(key, container, { isStuck });
    if (container !== null && isStuck) {
      const isBack = () => this.#entries.has(key.id) || this.#expected.has(key.id);
      removeInTime(this.#options.parts.cgroup(container.cgroupsPath), isBack);
    }
    if (container?.log.driver === "remote")
      this.#options.parts.deliveries.end(container.log.folder);
    try {
      this.#options.records.removeFolder(key);
    } catch (thrown) {
      this.#warn(`remove the folder of ${nameOf(key)}`, thrown);
    }
  }

  #hooks(container: ContainerState | null) {
    const { readiness, ledger } = this.#options;
    return {
      readiness,
      ledger,
      onStdinClosed: (process: SupervisedProcess) => {
        forgetStdin(this.#options.records.folder(process.key));
        this.#options.notify({ type: "stdinClosed", key: process.key });
      },
      onEnd: (process: SupervisedProcess, end: ProcessEnd) => {
        const { identity } = process;
        const exit = exitOf(identity, end, this.#memory.end(identity.key, container));
        process.exit = exit;
        this.#settle({ identity, container, exit, process });
      },
    };
  }

  /** Records, announces, then cleans up: in this order. */
  #settle(request: {
    identity: ProcessIdentity;
    container: ContainerState | null;
    exit: ExitReport;
    process: SupervisedProcess | null;
  }): void {
    const { identity, container, exit, process } = request;
    const { key } = identity;
    const report = { ...identity, exit, descriptors: null };
    try {
      this.#options.records.writeExit(report);
    } catch (thrown) {
      // A full disk: the exit is still known to whoever listens now.
      this.#warn(`record the exit of ${nameOf(key)}`, thrown);
    }
    this.#options.announce({ type: "exit", exit });
    process?.releaseAttachers();
    const teardown =
      container === null
        ? nothingLater
        : later(TEARDOWN_DELAY_MS, () => this.#tearDown(key, container, { process }));
    this.#entries.set(nameOf(key), { state: "ended", report, process, teardown });
  }

  #tearDown(key: ProcessKey, container: ContainerState, how: TeardownRequest = {}): Promise<void> {
    const { parts, records } = this.#options;
    return tearDown({ parts, records, warn: this.#warn.bind(this) }, { key, container, ...how });
  }

  #joinEarly(process: SupervisedProcess): void {
    const name = nameOf(process.key);
    const waiting = this.#early.get(name) ?? [];
    this.#early.delete(name);
    for (const attacher of waiting) process.attach(attacher);
  }

  #endEarly(name: string): void {
    const waiting = this.#early.get(name) ?? [];
    this.#early.delete(name);
    for (const attacher of waiting) attacher.finish();
  }

  /** Before the birth: as with Docker, a log server that is not there fails the start. */
  async #openDelivery(key: ProcessKey, target: RemoteLog): Promise<void> {
    try {
      await this.#options.parts.deliveries.open(jobOf(target), { mustConnect: true });
    } catch (thrown) {
      this.#entries.delete(nameOf(key));
      this.#endEarly(nameOf(key));
      throw thrown;
    }
  }

  #warn(what: string, thrown: unknown): void {
    this.#options.parts.log("warn", `${what}: ${sentenceOf(thrown)}`);
  }
}
