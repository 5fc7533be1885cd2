/** Containers without a kernel: records, and the programs of fake-process.ts. */
import { conflict, invalid, newId, noSuch, notFound, notModified } from "#base";
import type {
  AttachRequest,
  Container,
  ContainerService,
  ContainerState,
  CreateRequest,
  ExecCreateRequest,
  ExecInstance,
  ExecStartRequest,
  ExtractRequest,
  FileChange,
  ListedContainer,
  ListRequest,
  LogsRequest,
  PathStat,
  ProcessStreams,
  WaitCondition,
  WaitResult,
} from "#engine/container";
import type { EventBus } from "#engine/events";
import type { StatsWatcher } from "#engine/stats";
import type { Digest } from "#oci";

import { FakeProcess, streamOf } from "./fake-process.ts";
import { IMAGE_ID } from "./fake-services.ts";

interface Held {
  record: Container;
  process: FakeProcess;
  waiters: ((result: WaitResult) => void)[];
}

interface HeldExec {
  instance: ExecInstance;
  process: FakeProcess;
}

export class FakeContainers implements ContainerService {
  /** What was decoded, newest last. */
  readonly created: CreateRequest[] = [];
  /** Signals handed to long operations, newest last. */
  readonly signals: AbortSignal[] = [];
  detached = 0;
  readonly #held = new Map<string, Held>();
  readonly #execs = new Map<string, HeldExec>();
  readonly #bus: EventBus;

  constructor(bus: EventBus) {
    this.#bus = bus;
  }

  create(request: CreateRequest): Promise<{ id: string; warnings: string[] }> {
    this.created.push(request);
    if (request.config.image === "") throw invalid("no image");
    if (request.config.image === "nosuch") throw noSuch("image", "nosuch:latest");
    if (request.config.image === "crash") throw new TypeError("the engine broke");
    const id = newId();
    const record = recordOf(id, request);
    const process = new FakeProcess([record.path, ...record.args], request.config.terminal);
    this.#held.set(id, { record, process, waiters: [] });
    return Promise.resolve({ id, warnings: [] });
  }

  start(name: string): Promise<void> {
    const one = this.#find(name);
    if (one.process.started) throw notModified("");
    try {
      one.process.start();
    } catch (error) {
      this.#ended(one, 127);
      throw error;
    }
    const startedAt = new Date().toISOString();
    this.#setState(one, { status: "running", pid: 42, startedAt });
    void one.process.exit.then((code) => this.#ended(one, code));
    return Promise.resolve();
  }

  #ended(one: Held, exitCode: number): void {
    const now = new Date().toISOString();
    const state = { exitCode, oomKilled: false, startedAt: now, finishedAt: now, error: "" };
    this.#setState(one, { status: "exited", ...state });
    const { id, name, config, host } = one.record;
    const attributes = { name, image: config.image };
    this.#bus.publish({ type: "container", action: "die", actorId: id, attributes });
    for (const waiter of one.waiters.splice(0)) waiter({ exitCode, error: null });
    if (host.autoRemove) this.#held.delete(id);
  }

  /** Bytes that a container's process has handed out so far. */
  written(name: string): number {
    return this.#find(name).process.written;
  }

  #setState(one: Held, state: ContainerState): void {
    one.record = { ...one.record, state };
  }

  #find(name: string): Held {
    const bare = name.replace(/^\//, "");
    const one = [...this.#held.values()].find(
      ({ record }) => record.name === bare || (bare !== "" && record.id.startsWith(bare)),
    );
    if (one === undefined) throw noSuch("container", name);
    return one;
  }

  async stop(name: string): Promise<void> {
    const { process } = this.#find(name);
    process.abort.abort();
    if (process.started) await process.exit;
  }

  restart(name: string): Promise<void> {
    this.#find(name);
    return Promise.resolve();
  }

  kill(name: string, signal: string): Promise<void> {
    const { record, process } = this.#find(name);
    if (!/^(SIG)?[A-Z0-9]*$/.test(signal)) throw invalid(`invalid signal: ${signal}`);
    if (record.state.status !== "running") {
      throw conflict(`cannot kill container: ${name}: container ${record.id} is not running`);
    }
    process.abort.abort();
    return Promise.resolve();
  }

  pause(name: string): Promise<void> {
    const one = this.#find(name);
    const { state } = one.record;
    if (state.status === "running") this.#setState(one, { ...state, status: "paused" });
    return Promise.resolve();
  }

  unpause(name: string): Promise<void> {
    this.#find(name);
    return Promise.resolve();
  }

  rename(name: string, newName: string): Promise<void> {
    const one = this.#find(name);
    one.record = { ...one.record, name: newName };
    return Promise.resolve();
  }

  connect(nameOrId: string): Promise<void> {
    this.resolve(nameOrId);
    return Promise.resolve();
  }

  disconnect(nameOrId: string): Promise<void> {
    this.resolve(nameOrId);
    return Promise.resolve();
  }

  async removeLink(name: string): Promise<void> {
    this.resolve(name);
  }

  remove(name: string): Promise<void> {
    this.#held.delete(this.#find(name).record.id);
    return Promise.resolve();
  }

  wait(
    name: string,
    { condition, signal }: { condition: WaitCondition; signal: AbortSignal },
  ): { id: string; result: Promise<WaitResult> } {
    this.signals.push(signal);
    const one = this.#find(name);
    const { id, state } = one.record;
    if (condition === "not-running" && state.status === "exited") {
      return { id, result: Promise.resolve({ exitCode: state.exitCode, error: null }) };
    }
    const { promise, resolve, reject } = Promise.withResolvers<WaitResult>();
    one.waiters.push(resolve);
    signal.addEventListener("abort", () => reject(new Error("gone")));
    return { id, result: promise };
  }

  resize(name: string): Promise<void> {
    this.#find(name);
    return Promise.resolve();
  }

  resolve(name: string): Container {
    return this.#find(name).record;
  }

  list({ all }: ListRequest): Promise<ListedContainer[]> {
    const listed = [...this.#held.values()].map(({ record: container }) => ({ container }));
    const alive = new Set(["running", "paused"]);
    return Promise.resolve(
      listed.filter(({ container }) => all || alive.has(container.state.status)),
    );
  }

  sizes(): Promise<{ rwBytes: number; rootFsBytes: number }> {
    return Promise.resolve({ rwBytes: 7, rootFsBytes: 4_000_000 });
  }

  logs(name: string, { signal, follow }: LogsRequest): Promise<ReadableStream<Uint8Array>> {
    this.signals.push(signal);
    const { process } = this.#find(name);
    if (!follow) return Promise.resolve(streamOf(process.log));
    return Promise.resolve(process.attach({ stdin: false, onDetach: () => {} }).output);
  }

  attach(name: string, request: AttachRequest): Promise<ProcessStreams> {
    const { process, record } = this.#find(name);
    const stdin = request.stdin && record.config.openStdin;
    return Promise.resolve(process.attach({ stdin, onDetach: () => void (this.detached += 1) }));
  }

  top(name: string): Promise<{ titles: string[]; processes: string[][] }> {
    this.#find(name);
    return Promise.resolve({ titles: ["PID", "CMD"], processes: [["1", "sleep"]] });
  }

  createExec(name: string, request: ExecCreateRequest): Promise<string> {
    const { record } = this.#find(name);
    if (record.state.status === "paused") {
      throw conflict(`Container ${name} is paused, unpause the container before exec`);
    }
    const id = newId();
    const instance = { id, containerId: record.id, request, state: { status: "created" } } as const;
    this.#execs.set(id, { instance, process: new FakeProcess(request.command, request.terminal) });
    return Promise.resolve(id);
  }

  startExec(id: string, { detach, onAccepted }: ExecStartRequest): Promise<ProcessStreams | null> {
    const one = this.#exec(id);
    const { instance, process } = one;
    const onDetach = () => void (this.detached += 1);
    const streams = process.attach({ stdin: instance.request.attachStdin, onDetach });
    const ended = (exitCode: number) =>
      void (one.instance = { ...instance, state: { status: "exited", pid: 43, exitCode } });
    onAccepted?.();
    try {
      process.start();
    } catch (error) {
      ended(127);
      throw error;
    }
    one.instance = { ...instance, state: { status: "running", pid: 43 } };
    void process.exit.then(ended);
    return Promise.resolve(detach ? null : streams);
  }

  #exec(id: string): HeldExec {
    const one = this.#execs.get(id);
    if (one === undefined) throw noSuch("exec instance", id);
    return one;
  }

  resizeExec(id: string): Promise<void> {
    this.#exec(id);
    return Promise.resolve();
  }

  resolveExec(id: string): ExecInstance {
    return this.#exec(id).instance;
  }

  waitForExec(id: string): Promise<number> {
    const { instance, process } = this.#exec(id);
    const { state } = instance;
    return state.status === "exited" ? Promise.resolve(state.exitCode) : process.exit;
  }

  update(name: string): Promise<{ warnings: string[] }> {
    this.#find(name);
    return Promise.resolve({ warnings: [] });
  }

  prune(): Promise<{ deleted: string[]; reclaimedBytes: number }> {
    return Promise.resolve({ deleted: [], reclaimedBytes: 0 });
  }

  watchStats(name: string, watcher: StatsWatcher): Disposable {
    this.#find(name);
    watcher.sampled(null);
    return { [Symbol.dispose]: () => undefined };
  }

  createCheckpoint(): Promise<void> {
    return Promise.reject(invalid("no checkpoints"));
  }

  listCheckpoints(): string[] {
    return [];
  }

  removeCheckpoint(): Promise<void> {
    return Promise.reject(invalid("no checkpoints"));
  }

  explain(): Promise<string> {
    return Promise.resolve("");
  }

  statPath(name: string, path: string): Promise<PathStat> {
    this.resolve(name);
    if (path !== "/file") throw notFound(`Could not find the file ${path} in container ${name}`);
    return Promise.resolve(FAKE_STAT);
  }

  async readArchive(
    name: string,
    path: string,
  ): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }> {
    const stat = await this.statPath(name, path);
    return { stat, tar: streamOf([new Uint8Array(1024)]) };
  }

  async extract(name: string, request: ExtractRequest): Promise<void> {
    this.resolve(name);
    for await (const bytes of request.archive) if (bytes.length === 0) return;
  }

  exportFiles(name: string): Promise<ReadableStream<Uint8Array>> {
    this.resolve(name);
    return Promise.resolve(streamOf([new Uint8Array(1024)]));
  }

  changes(name: string): Promise<FileChange[]> {
    this.resolve(name);
    return Promise.resolve([{ kind: "added", path: "/file" }]);
  }

  commit(name: string): Promise<Digest> {
    this.resolve(name);
    return Promise.resolve(IMAGE_ID);
  }
}

const FAKE_STAT: PathStat = {
  name: "file",
  sizeBytes: 1,
  mode: 0o100644,
  mtimeSec: 0,
  mtimeNsec: 0,
  linkTarget: "",
};

function recordOf(id: string, { name, config, host }: CreateRequest): Container {
  const [path = "sh", ...args] = [...(config.entrypoint ?? []), ...(config.command ?? [])];
  const called = name === "" ? `brave_${id.slice(0, 6)}` : name;
  return {
    id,
    name: called,
    names: [called],
    createdAt: new Date().toISOString(),
    imageId: IMAGE_ID,
    health: null,
    config: { ...config, hostname: id.slice(0, 12), environment: ["PATH=/bin"] },
    host,
    path,
    args,
    layers: [],
    state: { status: "created" },
    restartCount: 0,
    mounts: [],
    networks: [{ network: "bridge" }],
    endpoints: [],
    ports: [],
    logPath: `/var/lib/naru/containers/${id}/${id}-json.log`,
    resolvConfPath: "",
    hostnamePath: "",
    hostsPath: "",
    execIds: [],
  };
}
