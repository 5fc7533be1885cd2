/**
 * The supervisor as the rooms see it: always there. When it dies, a new one is started and given the descriptors
 * that this daemon kept copies of; requests that come meanwhile wait for it.
 */
import { chmodSync, statSync } from "node:fs";

import { kindOf, sentenceOf, unavailable } from "#base";
import type { AttachedStreams, EarlyStreams, SupervisorLink } from "#engine/container";
import type { PortHolder } from "#engine/network";
import {
  type AttachHello,
  DescriptorKeeper,
  type EnsureOptions,
  ensureSupervisor,
  type Requests,
  type RequestType,
  type SupervisorClient,
  type SupervisorEvent,
  upgradeSupervisor,
} from "#engine/supervisor";

import type { DaemonLog } from "./daemon-log.ts";

const RETRY_FIRST_MS = 100;
const RETRY_LONGEST_MS = 10_000;
/** How long a request waits for a supervisor that is being started again. */
const REBIRTH_PATIENCE_MS = 15_000;

export interface SupervisorOptions {
  readonly execRoot: string;
  readonly dataRoot: string;
  readonly log: DaemonLog;
  readonly onEvent: (event: SupervisorEvent) => void;
  /** A new supervisor took the place of a dead one. */
  readonly onRebirth: () => Promise<void>;
}

export class DaemonSupervisor implements SupervisorLink, PortHolder {
  readonly #options: SupervisorOptions;
  readonly #keeper = new DescriptorKeeper();
  #client: Promise<SupervisorClient>;
  /** The same, while its connection stands. */
  #open: SupervisorClient | null = null;
  #closing = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#client = this.#connect();
  }

  /** Resolves when a supervisor answers. @throws EngineError "unavailable" when none can be started */
  async ready(): Promise<void> {
    this.#watch(await this.#client);
  }

  /** On its way when this returns, unless the supervisor is being started again. */
  request<Type extends RequestType>(
    request: Requests[Type]["request"] & { readonly type: Type },
  ): Promise<Requests[Type]["answer"]> {
    if (this.#open !== null) return this.#open.request<Type>(request);
    return this.#living().then((client) => client.request<Type>(request));
  }

  attach(hello: Omit<AttachHello, "hello" | "channel" | "attachment">): Promise<AttachedStreams> {
    if (this.#open !== null) return this.#open.attach(hello);
    return this.#living().then((client) => client.attach(hello));
  }

  async attachAhead(
    hello: Omit<AttachHello, "hello" | "channel" | "attachment">,
  ): Promise<EarlyStreams> {
    return (this.#open ?? (await this.#living())).attachAhead(hello);
  }

  async reserve(request: Parameters<PortHolder["reserve"]>[0]): ReturnType<PortHolder["reserve"]> {
    const { ports } = await this.request({ type: "reservePorts", ...request });
    return ports;
  }

  async release(id: string): Promise<void> {
    await this.request({ type: "releasePorts", id });
  }

  async list(): Promise<Requests["listPorts"]["answer"]["holders"]> {
    return (await this.request({ type: "listPorts" })).holders;
  }

  /** The supervisor lives on. */
  async close(): Promise<void> {
    this.#closing = true;
    const client = await this.#client.catch(() => null);
    client?.close();
  }

  async #living(): Promise<SupervisorClient> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(unavailable("the supervisor does not come back")),
      REBIRTH_PATIENCE_MS,
    );
    try {
      return await Promise.race([this.#client, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #connect(): Promise<SupervisorClient> {
    const { execRoot, dataRoot, onEvent } = this.#options;
    const fromSource = !import.meta.path.startsWith("/$bunfs/");
    const options = {
      execRoot,
      binary: process.execPath,
      prefixArguments: fromSource ? [Bun.main] : [],
      moreArguments: ["--data-root", dataRoot],
      keeper: this.#keeper,
      onEvent,
    };
    const client = await this.#upToDate(await ensureSupervisor(options), options);
    // The supervisor shuts its folder to everyone. The API's socket lies in it too, and its group must get there;
    // what else is in there is root's alone by its own mode.
    chmodSync(execRoot, 0o711);
    return client;
  }

  /** A supervisor of an older binary becomes one of ours; its processes notice nothing. */
  async #upToDate(client: SupervisorClient, options: EnsureOptions): Promise<SupervisorClient> {
    if (isSameFile(`/proc/${client.pid}/exe`, options.binary)) return client;
    const { log } = this.#options;
    try {
      const upgraded = await upgradeSupervisor(client, options);
      log.info("the supervisor runs the new binary", { pid: upgraded.pid });
      return upgraded;
    } catch (cause) {
      log.warn("the supervisor stays as it is", { error: sentenceOf(cause) });
      // Someone is attached: the old one serves on, and the next start of the daemon asks again.
      return kindOf(cause) === "conflict" ? client : await ensureSupervisor(options);
    }
  }

  #watch(client: SupervisorClient): void {
    this.#open = client;
    void client.closed.then(() => {
      this.#open = null;
      if (this.#closing) return;
      this.#options.log.warn("the supervisor is gone: starting another", { pid: client.pid });
      this.#client = this.#reconnect();
    });
  }

  async #reconnect(): Promise<SupervisorClient> {
    for (let delayMs = RETRY_FIRST_MS; ; delayMs = Math.min(delayMs * 2, RETRY_LONGEST_MS)) {
      try {
        const client = await this.#connect();
        this.#watch(client);
        // Its own requests need the link: this one is handed out first.
        setImmediate(() => void this.#afterRebirth());
        return client;
      } catch (cause) {
        this.#options.log.error("the supervisor cannot be started", { error: sentenceOf(cause) });
        await Bun.sleep(delayMs);
      }
    }
  }

  async #afterRebirth(): Promise<void> {
    try {
      await this.#options.onRebirth();
      this.#options.log.info("the new supervisor has taken over");
    } catch (cause) {
      this.#options.log.error("the new supervisor could not be compared with the records", {
        error: sentenceOf(cause),
      });
    }
  }
}

function isSameFile(left: string, right: string): boolean {
  try {
    const [one, other] = [statSync(left), statSync(right)];
    return one.dev === other.dev && one.ino === other.ino;
  } catch {
    // A binary that was replaced on disk is another one.
    return false;
  }
}
