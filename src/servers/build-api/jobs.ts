/** Builds that are under way, by the references that clients give them. */
import { conflict, invalid, notFound, unavailable } from "#base";
import type { CacheTarget, SolvedBuild } from "#engine/build";
import type { GrpcFailure } from "#wire/grpc";

import { Progress, type SourceText } from "./progress.ts";
import { StatusLog } from "./status-log.ts";

/** A `bake` of many targets has one for each, and two more to look around. */
const JOB_LIMIT = 512;
const REF_LIMIT = 256;
/** A client may ask how a build goes before it asks for the build, or just after its end. */
const LINGER_MS = 10_000;

/** What a client's own part of a build came to: results of ours, one for each platform. */
export interface ReturnedResult {
  readonly ids: readonly string[];
  readonly isMany: boolean;
}

/** One result, and what it was made from. */
export interface JobResult {
  readonly solved: SolvedBuild;
  /** Of the frontend, as the client gave them. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly dockerfile: SourceText;
  readonly startedAt: Date;
}

export interface AskedBuild {
  readonly session: string;
  readonly cacheTo: readonly CacheTarget[];
  readonly entitlements: readonly string[];
  /** A scanner will look at the results. */
  readonly isScanned: boolean;
}

export class Job {
  readonly ref: string;
  readonly log = new StatusLog();
  readonly progress: Progress;
  /** What the client's own part of the build came to: the result it wants, or what went wrong. */
  readonly returned = Promise.withResolvers<ReturnedResult>();
  readonly results = new Map<string, JobResult>();
  readonly #abort = new AbortController();
  /** What the build itself was asked for with. */
  readonly asked = Promise.withResolvers<AskedBuild>();
  isTaken = false;

  constructor(ref: string) {
    this.ref = ref;
    this.progress = new Progress(this.log, ref);
    this.returned.promise.catch(() => undefined);
    this.asked.promise.catch(() => undefined);
  }

  /** Aborts when the build is given up. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  abort(reason: unknown): void {
    this.#abort.abort(reason);
  }

  fail(failure: GrpcFailure): void {
    this.returned.reject(failure);
  }
}

export class Jobs {
  readonly #jobs = new Map<string, Job>();

  /** The build itself is asked for. @throws EngineError "conflict" for the second of one name */
  take(ref: string): Job {
    const job = this.#ensure(ref);
    if (job.isTaken) throw conflict(`job ID ${ref} exists`);
    job.isTaken = true;
    return job;
  }

  /** Somebody wants to know how it goes; it may be still to come. */
  watch(ref: string): Job {
    const job = this.#ensure(ref);
    if (!job.isTaken) this.#removeLater(job);
    return job;
  }

  /** A result of any build that is under way. */
  result(id: string): SolvedBuild | null {
    for (const { results } of this.#jobs.values()) {
      const result = results.get(id);
      if (result !== undefined) return result.solved;
    }
    return null;
  }

  /** The build has ended: what it holds is given back. */
  end(job: Job): void {
    job.abort(new Error("the build has ended"));
    job.asked.reject(notFound(`no such job ${job.ref}`));
    job.log.end();
    for (const { solved } of job.results.values()) solved[Symbol.dispose]();
    job.results.clear();
    this.#removeLater(job);
  }

  #ensure(ref: string): Job {
    if (ref === "" || ref.length > REF_LIMIT) throw invalid("invalid reference of a build");
    let job = this.#jobs.get(ref);
    if (job === undefined) {
      if (this.#jobs.size >= JOB_LIMIT) throw unavailable("too many builds");
      job = new Job(ref);
      this.#jobs.set(ref, job);
    }
    return job;
  }

  #removeLater(job: Job): void {
    setTimeout(() => {
      if (job.isTaken && !job.signal.aborted) return;
      job.asked.reject(notFound(`no such job ${job.ref}`));
      job.log.end();
      if (this.#jobs.get(job.ref) === job) this.#jobs.delete(job.ref);
    }, LINGER_MS).unref();
  }
}
