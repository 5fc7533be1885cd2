/**
 * A container's files read and written by a process of their own, for two reasons:
 * - File systems that may never answer: FUSE servers that hang, network servers that are gone. The kernel keeps who asks
 *   them waiting, and no thread of the daemon may be that; this process can be killed. All of such a container's files
 *   are its.
 * - Many or large files: disks make readers and writers wait, for a tenth of a second and longer when they are busy, and
 *   everybody the daemon serves would wait with them (bulk.ts).
 *
 *   argument   Task, as JSON
 *   fd 3       the container's root, where the daemon has it open
 *   stdin      the archive of a copy into it
 *   stdout     one line of JSON, Told; then the tar of a copy out of it, and of its end nothing but the exit code
 */
import { type EngineError, EngineError as Failure, type ErrorKind, unavailable } from "#base";
import type { IdMaps } from "#engine/runtime";
import { stallingTargets } from "#linux/mount";

import type { ExtractRequest, PathStat } from "../container-service.ts";
import type { AskedPath } from "./lookup.ts";
import { type Patience, StallGuard, unstalled } from "./stall.ts";
import type { StillRoot } from "./still-root.ts";

/** As long as a file system may keep a copy waiting. */
const STALL_LIMIT_MS = 60_000;
/** As long as a killed process may take to be gone, where it waits for no file system. */
const END_LIMIT_MS = 2000;
const HEAD_LIMIT_BYTES = 1024 * 1024;

export type Task = {
  readonly name: string;
  readonly user: string;
  readonly maps: IdMaps | null;
  /** null: fd 3 is it. */
  readonly still: StillRoot | null;
} & (
  | { readonly action: "stat"; readonly asked: AskedPath }
  | { readonly action: "read"; readonly asked: AskedPath }
  | { readonly action: "export" }
  | {
      readonly action: "extract";
      readonly asked: AskedPath;
      readonly keepKinds: boolean;
      readonly copyOwner: boolean;
    }
);

export type Told =
  | { readonly stat: PathStat | null }
  | { readonly error: { readonly kind: ErrorKind; readonly message: string } };

/** The files of one container, by a process of their own. */
export interface Aside {
  readonly command: readonly string[];
  /** A running container's root. */
  readonly rootFd: number | null;
  readonly about: Pick<Task, "name" | "user" | "maps" | "still">;
  readonly limitMs?: number;
}

/** Whether a folder of the host, or something mounted in it, may stall. The mount table does not ask the file systems. */
export function pathsMayStall(paths: readonly string[]): boolean {
  if (paths.length === 0) return false;
  const risky = stallingTargets();
  const holds = (outer: string, inner: string): boolean =>
    inner === outer || inner.startsWith(outer === "/" ? "/" : `${outer}/`);
  return risky.some((target) => paths.some((path) => holds(target, path) || holds(path, target)));
}

type Asked<Action extends Task["action"]> = Omit<
  Extract<Task, { action: Action }>,
  "name" | "user" | "maps" | "still"
>;

/** @throws EngineError, "unavailable" when nothing answers in time */
export async function statAside(aside: Aside, asked: AskedPath): Promise<PathStat> {
  await using helper = new Helper(aside, { action: "stat", asked }, "ignore");
  return statOf(await helper.head());
}

/** @param owner disposed of when the stream has ended, failed or was cancelled */
export async function readAside(
  aside: Aside,
  task: Asked<"read">,
  owner: Disposable & Patience,
): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }> {
  const { stat, tar } = await tarAside(aside, task, owner);
  return { stat: statOf({ stat }), tar };
}

/** @param owner as above */
export const exportAside = async (
  aside: Aside,
  owner: Disposable & Patience,
): Promise<ReadableStream<Uint8Array>> => (await tarAside(aside, { action: "export" }, owner)).tar;

async function tarAside(
  aside: Aside,
  task: Asked<"read"> | Asked<"export">,
  owner: Disposable & Patience,
) {
  const helper = new Helper(aside, task, "ignore");
  let open = true;
  let isReading = false;
  let guard: StallGuard | null = null;
  // While the file system is asked, it is not the client who stands still.
  const patience = { patienceMs: () => (isReading ? null : owner.patienceMs()) };
  const close = () => {
    if (!open) return;
    open = false;
    guard?.[Symbol.dispose]();
    void helper[Symbol.asyncDispose]().finally(() => owner[Symbol.dispose]());
  };
  try {
    const { stat } = await helper.head();
    const tar = new ReadableStream<Uint8Array>(
      {
        start(controller) {
          guard = new StallGuard(patience, (error) => {
            close();
            controller.error(error);
          });
        },
        async pull(controller) {
          try {
            isReading = true;
            const bytes = await helper.read();
            isReading = false;
            guard?.moved();
            if (bytes !== null) return controller.enqueue(bytes);
            await helper.end();
            close();
            controller.close();
          } catch (error) {
            close();
            throw error;
          }
        },
        cancel: close,
      },
      { highWaterMark: 0 },
    );
    return { stat, tar };
  } catch (error) {
    await helper[Symbol.asyncDispose]();
    throw error;
  }
}

export async function extractAside(
  aside: Aside,
  task: Asked<"extract">,
  {
    archive,
    signal,
    patience,
  }: Pick<ExtractRequest, "archive" | "signal"> & {
    readonly patience: Patience;
  },
): Promise<void> {
  await using helper = new Helper(aside, task, "pipe");
  const told = helper.head({ patient: true });
  told.catch(() => undefined);
  let over = false;
  void told.then(
    () => (over = true),
    () => (over = true),
  );
  for await (const bytes of unstalled(archive, patience)) {
    signal.throwIfAborted();
    if (over || !(await helper.write(bytes))) break;
  }
  await helper.closeInput();
  await helper.timed(told);
}

function statOf({ stat }: { readonly stat: PathStat | null }): PathStat {
  if (stat === null) throw unavailable("the files' process told nothing");
  return stat;
}

const stalled = (): EngineError =>
  unavailable("the copy was given up: a file system of the container does not answer");

class Helper implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore" | "pipe", "pipe", "pipe">;
  readonly #output: AsyncIterator<Uint8Array>;
  readonly #limitMs: number;
  #rest: Uint8Array | null = null;

  constructor(
    { command, rootFd, about, limitMs = STALL_LIMIT_MS }: Aside,
    task: Asked<"stat"> | Asked<"read"> | Asked<"export"> | Asked<"extract">,
    stdin: "ignore" | "pipe",
  ) {
    this.#limitMs = limitMs;
    const words = [...command, JSON.stringify({ ...about, ...task })];
    this.#child = Bun.spawn<"ignore" | "pipe", "pipe", "pipe">(words, {
      stdio: [stdin, "pipe", "pipe", ...(rootFd === null ? [] : [rootFd])],
    });
    this.#output = this.#child.stdout[Symbol.asyncIterator]();
  }

  /** The first line. @param how.patient waits as long as the client takes to send */
  async head(how: { readonly patient?: boolean } = {}): Promise<{ stat: PathStat | null }> {
    let text = Buffer.alloc(0);
    for (;;) {
      const at = text.indexOf(10);
      if (at >= 0) {
        this.#rest = text.subarray(at + 1);
        return resultOf(JSON.parse(text.subarray(0, at).toString()) as Told);
      }
      const reading = this.#output.next();
      const { value, done } = how.patient === true ? await reading : await this.timed(reading);
      if (done === true || text.length > HEAD_LIMIT_BYTES) throw await this.#died();
      text = Buffer.concat([text, value]);
    }
  }

  /** null at the end. */
  async read(): Promise<Uint8Array | null> {
    const rest = this.#rest;
    this.#rest = null;
    if (rest !== null && rest.length > 0) return rest;
    const { value, done } = await this.timed(this.#output.next());
    return done === true ? null : value;
  }

  /** False when it reads no more: what it told says why. */
  async write(bytes: Uint8Array): Promise<boolean> {
    const { stdin } = this.#child;
    if (stdin === undefined) return false;
    return await this.#taken(async () => {
      await stdin.write(bytes);
      await stdin.flush();
    });
  }

  async closeInput(): Promise<void> {
    await this.#taken(async () => void (await this.#child.stdin?.end()));
  }

  async #taken(give: () => Promise<void>): Promise<boolean> {
    try {
      await this.timed(give());
      return true;
    } catch (error) {
      if (error instanceof Failure) throw error;
      return false;
    }
  }

  /** @throws EngineError when it did not end well */
  async end(): Promise<void> {
    if ((await this.timed(this.#child.exited)) !== 0) throw await this.#died();
  }

  async #died(): Promise<EngineError> {
    const text = await this.timed(new Response(this.#child.stderr).text());
    return unavailable(`the copy broke off: ${text.trim().slice(-1000)}`);
  }

  /** @throws EngineError "unavailable" after a while in which nothing came of it */
  async timed<T>(work: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(stalled()), this.#limitMs);
    try {
      return await Promise.race([work, promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Who waits for a file system can be killed, and is then of no matter to anybody. */
  async [Symbol.asyncDispose](): Promise<void> {
    void this.#output.return?.().catch(() => undefined);
    this.#child.kill("SIGKILL");
    this.#child.unref();
    // It has the container's root open: a start must not mount that a second time. A file system may keep it longer.
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, END_LIMIT_MS);
    await Promise.race([this.#child.exited, promise]);
    clearTimeout(timer);
  }
}

function resultOf(told: Told): { stat: PathStat | null } {
  if ("error" in told) throw new Failure(told.error.kind, told.error.message);
  return told;
}
