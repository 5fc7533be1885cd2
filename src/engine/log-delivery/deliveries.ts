/**
 * The supervisor's side of delivery: starts the delivery process when the first log needs it, starts it again when it
 * dies, ends it when nothing is left, and knows how far each log came.
 */
import { rm } from "node:fs/promises";

import { internal, sentenceOf } from "#base";

import { type DeliveryJob, type FromDelivery, readMessages, type ToDelivery } from "./messages.ts";
import { hasJob, listJobs } from "./spool.ts";
import { failedStart } from "./target.ts";

const RESTART_MS = 500;
/** An idle process is kept for the next container this long. */
const IDLE_MS = 30_000;

export interface DeliveriesOptions {
  /** The delivery process. */
  readonly command: () => readonly string[];
  /** `<data-root>/log-spool`. */
  readonly root: string;
  readonly warn: (message: string) => void;
}

interface OpenJob {
  readonly job: DeliveryJob;
  isEnded: boolean;
  isRemoved: boolean;
  onDelivered: ((time: string) => void) | null;
}

type Helper = Bun.Subprocess<"pipe", "pipe", "inherit">;

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #jobs = new Map<string, OpenJob>();
  readonly #answers = new Map<number, PromiseWithResolvers<void>>();
  #process: Helper | null = null;
  #seq = 0;
  #idleTimer: Timer | null = null;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Goes on with what an earlier supervisor left undelivered, of containers that have ended. */
  resume(): void {
    for (const job of listJobs(this.#options.root)) {
      if (this.#jobs.has(job.folder)) continue;
      this.#jobs.set(job.folder, { job, isEnded: true, isRemoved: false, onDelivered: null });
      this.#reopen(job.folder);
    }
  }

  /** @throws EngineError "internal" in Docker's words when the server cannot be reached and must be */
  async open(job: DeliveryJob, { mustConnect }: { mustConnect: boolean }): Promise<void> {
    const known = this.#jobs.get(job.folder);
    this.#jobs.set(job.folder, { job, isEnded: false, isRemoved: false, onDelivered: null });
    const answer = Promise.withResolvers<void>();
    this.#seq += 1;
    this.#answers.set(this.#seq, answer);
    this.#say({ type: "open", seq: this.#seq, job, mustConnect });
    try {
      await answer.promise;
    } catch (cause) {
      if (known === undefined) this.#jobs.delete(job.folder);
      else this.#jobs.set(job.folder, known);
      throw internal(failedStart(sentenceOf(cause)), { cause });
    }
  }

  /** Hears how far a log came, by the time of its last delivered entry. */
  listen(folder: string, onDelivered: (time: string) => void): void {
    const open = this.#jobs.get(folder);
    if (open !== undefined) open.onDelivered = onDelivered;
  }

  end(folder: string): void {
    const open = this.#jobs.get(folder);
    if (open === undefined) return;
    open.isEnded = true;
    open.onDelivered = null;
    this.#say({ type: "end", folder });
  }

  /** The folder goes once everything in it is delivered. */
  async remove(folder: string): Promise<void> {
    const open = this.#jobs.get(folder);
    if (open === undefined && !hasJob(folder)) {
      await rm(folder, { recursive: true, force: true });
      return;
    }
    if (open === undefined) this.resume();
    const job = this.#jobs.get(folder);
    if (job !== undefined) job.isRemoved = true;
    this.#say({ type: "remove", folder });
  }

  /** Ends the process: another one follows when there is something to do. */
  close(): void {
    const running = this.#process;
    this.#process = null;
    void running?.stdin.end();
  }

  #say(message: ToDelivery): void {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
    this.#process ??= this.#start();
    void this.#process.stdin.write(`${JSON.stringify(message)}\n`);
    void this.#process.stdin.flush();
  }

  #start(): Helper {
    const { BUN_OPTIONS: _options, BUN_BE_BUN: _beBun, ...env } = process.env;
    const child = Bun.spawn([...this.#options.command()], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
      env,
    });
    void this.#hear(child);
    return child;
  }

  async #hear(child: Helper): Promise<void> {
    try {
      for await (const message of readMessages<FromDelivery>(child.stdout)) this.#take(message);
    } catch (cause) {
      this.#options.warn(`log delivery: ${sentenceOf(cause)}`);
      child.kill("SIGKILL");
    }
    await child.exited;
    if (this.#process !== child) return;
    this.#process = null;
    for (const answer of this.#answers.values()) answer.reject(new Error("log delivery ended"));
    this.#answers.clear();
    if (this.#jobs.size === 0) return;
    this.#options.warn("log delivery ended: starting it again");
    setTimeout(() => {
      for (const folder of this.#jobs.keys()) this.#reopen(folder);
    }, RESTART_MS);
  }

  #take(message: FromDelivery): void {
    switch (message.type) {
      case "opened": {
        const answer = this.#answers.get(message.seq);
        this.#answers.delete(message.seq);
        if (message.error === null) answer?.resolve();
        else answer?.reject(new Error(message.error));
        return;
      }
      case "delivered":
        this.#jobs.get(message.folder)?.onDelivered?.(message.time);
        return;
      case "log":
        this.#options.warn(message.message);
        return;
      case "idle":
        this.#idle();
    }
  }

  #idle(): void {
    for (const [folder, { isEnded }] of this.#jobs) {
      if (isEnded && !hasJob(folder)) this.#jobs.delete(folder);
    }
    if (this.#jobs.size > 0 || this.#answers.size > 0) return;
    this.#idleTimer ??= setTimeout(() => this.close(), IDLE_MS);
    this.#idleTimer.unref();
  }

  /** A job that was open before: nobody waits for its connection. */
  #reopen(folder: string): void {
    const open = this.#jobs.get(folder);
    if (open === undefined) return;
    if (open.isEnded && !hasJob(folder)) {
      this.#jobs.delete(folder);
      return;
    }
    this.#seq += 1;
    this.#say({ type: "open", seq: this.#seq, job: open.job, mustConnect: false });
    if (open.isRemoved) this.#say({ type: "remove", folder });
    else if (open.isEnded) this.#say({ type: "end", folder });
  }
}
