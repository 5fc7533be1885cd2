/**
 * The options that a reload (SIGHUP) changes while the engine runs: exactly dockerd's. Rooms hold these objects and
 * read them anew at each use, so a change counts for what begins after it.
 */
import { type InspectRemote } from "#servers/docker-api";
import type { EngineOptions } from "#engine/container";
import { type Concurrency, inspectRemote } from "#engine/image";
import { openRegistryClient, type RegistryClient } from "#engine/registry-client";

import type { DaemonOptions } from "./daemon-options.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

export class LiveOptions {
  readonly engine: Mutable<EngineOptions>;
  readonly concurrency: Mutable<Concurrency>;
  readonly registry: RegistryClient;
  readonly inspectRemote: InspectRemote;
  readonly #userAgent: string;
  #options: DaemonOptions;
  #client: RegistryClient;

  constructor(options: DaemonOptions, userAgent: string) {
    this.#options = options;
    this.#userAgent = userAgent;
    this.engine = { ...options.engine };
    this.concurrency = {
      downloads: options.maxConcurrentDownloads,
      uploads: options.maxConcurrentUploads,
    };
    this.#client = this.#open(options);
    this.registry = {
      withRepository: (request, work) => this.#client.withRepository(request, work),
      login: (request) => this.#client.login(request),
      search: (request) => this.#client.search(request),
    };
    this.inspectRemote = (request) => inspectRemote(this.registry, request);
  }

  get options(): DaemonOptions {
    return this.#options;
  }

  /** Takes over what may change, all of it or nothing. @returns the attributes of Docker's `reload` event */
  reload(next: DaemonOptions): Record<string, string> {
    const before = this.#options;
    const told = <T>(flag: string, now: T, then: T): T => (next.said.has(flag) ? now : then);
    const options: DaemonOptions = {
      ...before,
      debug: told("debug", next.debug, before.debug),
      maxConcurrentDownloads: next.maxConcurrentDownloads,
      maxConcurrentUploads: next.maxConcurrentUploads,
      maxDownloadAttempts: next.maxDownloadAttempts,
      shutdownTimeoutSeconds: told(
        "shutdown-timeout",
        next.shutdownTimeoutSeconds,
        before.shutdownTimeoutSeconds,
      ),
      features: next.features,
      labels: told("label", next.labels, before.labels),
      authorizationPlugins: told(
        "authorization-plugin",
        next.authorizationPlugins,
        before.authorizationPlugins,
      ),
      insecureRegistries: told(
        "insecure-registry",
        next.insecureRegistries,
        before.insecureRegistries,
      ),
      registryMirrors: told("registry-mirror", next.registryMirrors, before.registryMirrors),
      liveRestore: told("live-restore", next.liveRestore, before.liveRestore),
      modes: {
        ipc: told("default-ipc-mode", next.modes.ipc, before.modes.ipc),
        cgroupns: told("default-cgroupns-mode", next.modes.cgroupns, before.modes.cgroupns),
      },
      engine: {
        ...before.engine,
        runtimes: told("runtimes", next.engine.runtimes, before.engine.runtimes),
        defaultRuntime: told(
          "default-runtime",
          next.engine.defaultRuntime,
          before.engine.defaultRuntime,
        ),
        defaultShmSizeBytes: told(
          "default-shm-size",
          next.engine.defaultShmSizeBytes,
          before.engine.defaultShmSizeBytes,
        ),
      },
    };
    const client = this.#open(options);
    // From here on nothing can fail.
    this.#client = client;
    this.#options = options;
    Object.assign(this.engine, options.engine);
    this.concurrency.downloads = options.maxConcurrentDownloads;
    this.concurrency.uploads = options.maxConcurrentUploads;
    return reloadAttributes(options);
  }

  #open({ insecureRegistries, registryMirrors, maxDownloadAttempts }: DaemonOptions) {
    return openRegistryClient({
      insecureRegistries,
      mirrors: registryMirrors,
      userAgent: this.#userAgent,
      limits: { attempts: maxDownloadAttempts },
    });
  }
}

function reloadAttributes(options: DaemonOptions): Record<string, string> {
  const { engine } = options;
  const features = Object.entries(options.features).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    debug: String(options.debug),
    "default-cgroupns-mode": options.modes.cgroupns,
    "default-ipc-mode": options.modes.ipc,
    "default-runtime": engine.defaultRuntime,
    "default-shm-size": String(engine.defaultShmSizeBytes),
    features: `map[${features.map(([name, on]) => `${name}:${on}`).join(" ")}]`,
    "insecure-registries": JSON.stringify(options.insecureRegistries),
    labels: JSON.stringify(options.labels),
    "live-restore": String(options.liveRestore),
    "max-concurrent-downloads": String(options.maxConcurrentDownloads),
    "max-concurrent-uploads": String(options.maxConcurrentUploads),
    "max-download-attempts": String(options.maxDownloadAttempts),
    "registry-mirrors": JSON.stringify(options.registryMirrors),
    runtimes: [...engine.runtimes].map(([name, path]) => `${name}:${path}`).join(" "),
    "shutdown-timeout": String(options.shutdownTimeoutSeconds),
  };
}
