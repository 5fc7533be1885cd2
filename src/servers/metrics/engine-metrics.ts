/**
 * What is counted of the engine, under dockerd's names. The rooms know nothing of it: where an operator wants metrics
 * they are wrapped, and where nobody does they are what they were.
 */
import { kindOf, sentenceOf } from "#base";
import type { BuildService } from "#engine/build";
import type { ContainerService } from "#engine/container";
import type { EventBus } from "#engine/events";
import type { ImageService } from "#engine/image";
import type { NetworkService } from "#engine/network";
import type { SystemService } from "#engine/system";

import { familyText, Histogram, observed, timed } from "./instruments.ts";
import { processText } from "./process.ts";

/** What is read when somebody asks. */
export interface EngineFacts {
  readonly system: SystemService;
  readonly counts: () => { running: number; paused: number; stopped: number };
  readonly storageDriver: string;
}

const CONTAINER_ACTIONS = ["changes", "commit", "create", "delete", "start"] as const;
const BUILD_FAILURES = [
  "build_canceled",
  "build_target_not_reachable_error",
  "command_not_supported_error",
  "dockerfile_empty_error",
  "dockerfile_syntax_error",
  "error_processing_commands_error",
  "missing_onbuild_arguments_error",
  "unknown_instruction_error",
] as const;
type BuildFailure = (typeof BUILD_FAILURES)[number];

const timer = (subject: string, what: string, label: string) =>
  new Histogram(
    `engine_daemon_${subject}_seconds`,
    `The number of seconds it takes to ${what}`,
    label,
  );

export class EngineMetrics {
  readonly #containers = timer("container_actions", "process each container action", "action");
  readonly #networks = timer("network_actions", "process each network action", "action");
  readonly #images = timer("image_actions", "process each image action", "action");
  readonly #host = timer(
    "host_info_functions",
    "call functions gathering info about the host",
    "function",
  );
  readonly #probeStarts = new Histogram(
    "engine_daemon_health_check_start_duration_seconds",
    "The number of seconds it takes to prepare to run health checks",
    null,
  );
  readonly #buildFailures = new Map<BuildFailure, number>(BUILD_FAILURES.map((name) => [name, 0]));
  #builds = 0;
  #probes = 0;
  #failedProbes = 0;
  #events = 0;
  #subscribers = 0;

  constructor() {
    // As dockerd: what never happened is there all the same, with a first observation of nothing.
    for (const action of CONTAINER_ACTIONS) this.#containers.observe(action, 0);
  }

  containers<T extends ContainerService>(service: T): T {
    const actions: Partial<Record<keyof ContainerService, string>> = {
      create: "create",
      start: "start",
      remove: "delete",
      changes: "changes",
      commit: "commit",
    };
    return timed<ContainerService>(service, actions, this.#containers) as T;
  }

  networks(service: NetworkService): NetworkService {
    const actions = { attach: "allocate", release: "release", connect: "connect" };
    return timed(service, actions, this.#networks);
  }

  images(service: ImageService): ImageService {
    const actions = { pull: "pull", push: "push", remove: "delete", history: "history" };
    return timed(service, actions, this.#images);
  }

  system(service: SystemService): SystemService {
    return timed(service, { info: "system_info", version: "system_version" }, this.#host);
  }

  builds(service: BuildService): BuildService {
    return observed(
      service,
      { build: "build", solve: "build" },
      () => void (this.#builds += 1),
      (_, cause) => {
        this.#builds += 1;
        const reason = buildFailureOf(cause);
        this.#buildFailures.set(reason, (this.#buildFailures.get(reason) ?? 0) + 1);
      },
    );
  }

  events<T extends EventBus>(bus: T): T {
    const subscribe: EventBus["subscribe"] = (signal) => {
      if (!signal.aborted) {
        this.#subscribers += 1;
        signal.addEventListener("abort", () => void (this.#subscribers -= 1), { once: true });
      }
      return bus.subscribe(signal);
    };
    const counted = observed(
      bus,
      { publish: "publish" } as Partial<Record<keyof T, string>>,
      () => {
        this.#events += 1;
      },
    );
    return new Proxy(counted, {
      get: (of, key) => (key === "subscribe" ? subscribe : (Reflect.get(of, key, of) as unknown)),
    });
  }

  /** One health check has ended. @param startSeconds from the wish to the running probe */
  probed({ startSeconds, failed }: { startSeconds: number; failed: boolean }): void {
    this.#probes += 1;
    if (failed) this.#failedProbes += 1;
    this.#probeStarts.observe("", startSeconds);
  }

  async text(facts: EngineFacts): Promise<string> {
    const families = [
      ...this.#buildFamilies(),
      this.#containers.text(),
      statesText(facts),
      ...(await engineFamilies(facts)),
      ...this.#eventFamilies(),
      this.#probeStarts.text(),
      ...this.#probeFamilies(),
      this.#host.text(),
      this.#images.text(),
      this.#networks.text(),
      ...processText(),
    ];
    return `${families.join("\n")}\n`;
  }

  #buildFamilies(): string[] {
    return [
      familyText("builder_builds_failed_total", {
        type: "counter",
        help: "Number of failed image builds",
        samples: [...this.#buildFailures].map(([reason, value]) => ({ labels: { reason }, value })),
      }),
      familyText("builder_builds_triggered_total", {
        type: "counter",
        help: "Number of triggered image builds",
        samples: [{ value: this.#builds }],
      }),
    ];
  }

  #eventFamilies(): string[] {
    return [
      familyText("engine_daemon_events_subscribers_total", {
        type: "gauge",
        help: "The number of current subscribers to events",
        samples: [{ value: this.#subscribers }],
      }),
      familyText("engine_daemon_events_total", {
        type: "counter",
        help: "The number of events logged",
        samples: [{ value: this.#events }],
      }),
    ];
  }

  #probeFamilies(): string[] {
    return [
      familyText("engine_daemon_health_checks_failed_total", {
        type: "counter",
        help: "The total number of failed health checks",
        samples: [{ value: this.#failedProbes }],
      }),
      familyText("engine_daemon_health_checks_total", {
        type: "counter",
        help: "The total number of health checks",
        samples: [{ value: this.#probes }],
      }),
    ];
  }
}

/** dockerd's word for why a build failed. */
function buildFailureOf(cause: unknown): BuildFailure {
  const sentence = sentenceOf(cause);
  if ((cause as { name?: string } | null)?.name === "AbortError" || /cancell?ed/.test(sentence)) {
    return "build_canceled";
  }
  if (kindOf(cause) !== "invalid") return "error_processing_commands_error";
  if (sentence.includes("cannot be empty")) return "dockerfile_empty_error";
  if (sentence.includes("unknown instruction")) return "unknown_instruction_error";
  if (/^target stage .* could not be found/.test(sentence))
    return "build_target_not_reachable_error";
  return "dockerfile_syntax_error";
}

function statesText({ counts }: EngineFacts): string {
  const { paused, running, stopped } = counts();
  return familyText("engine_daemon_container_states_containers", {
    type: "gauge",
    help: "The count of containers in various states",
    samples: Object.entries({ paused, running, stopped }).map(([state, value]) => ({
      labels: { state },
      value,
    })),
  });
}

async function engineFamilies({ system, storageDriver }: EngineFacts): Promise<string[]> {
  const { version, gitCommit: commit } = system.version();
  const info = await system.info();
  return [
    familyText("engine_daemon_engine_cpus_cpus", {
      type: "gauge",
      help: "The number of cpus that the host system of the engine has",
      samples: [{ value: info.cpus }],
    }),
    familyText("engine_daemon_engine_info", {
      type: "gauge",
      help: "The information related to the engine and the OS it is running on",
      samples: [
        {
          labels: {
            architecture: info.architecture,
            commit,
            daemon_id: info.id,
            graphdriver: storageDriver,
            kernel: info.kernelVersion,
            os: info.operatingSystem,
            os_type: "linux",
            os_version: info.osVersion,
            version,
          },
          value: 1,
        },
      ],
    }),
    familyText("engine_daemon_engine_memory_bytes", {
      type: "gauge",
      help: "The number of bytes of memory that the host system of the engine has",
      samples: [{ value: info.memoryBytes }],
    }),
  ];
}
