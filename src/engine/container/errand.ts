/**
 * Errands: what the kernel may keep waiting for ever is done by a process of its own, which can be given up. It is told
 * what to do as JSON, answers one line, and keeps what it opened until its input ends.
 */
import { EngineError, type ErrorKind, unavailable } from "#base";
import { readStartTime } from "#linux/process";

/** As long as a file system may keep a start waiting. */
const LIMIT_MS = 60_000;
const ANSWER_LIMIT_BYTES = 1024 * 1024;

/** What is bound into a container: opened as the start would, or made where it is missing. */
export interface Source {
  readonly path: string;
  readonly subpath?: string;
  readonly recursive: boolean;
  /** A folder is made where nothing is. */
  readonly create: boolean;
}

export interface OpenedTree {
  /** The number of a detached mount in the errand's process. */
  readonly descriptor: number;
  readonly directory: boolean;
  /** Where the path leads to, links followed. */
  readonly realPath: string;
}

export type Errand =
  | { readonly errand: "open"; readonly sources: readonly Source[] }
  /** Mounts a volume's options on its folder, if told so, and reads from it once. */
  | {
      readonly errand: "volume";
      readonly path: string;
      readonly mount: Readonly<Record<string, string>> | null;
    };

export interface ErrandAnswer {
  open: readonly OpenedTree[];
  volume: null;
}

export type ErrandTold<Kind extends Errand["errand"]> =
  | { readonly done: ErrandAnswer[Kind] }
  | { readonly error: { readonly kind: ErrorKind; readonly message: string } };

export interface ErrandRequest<Kind extends Errand["errand"]> {
  readonly command: readonly string[];
  readonly task: Extract<Errand, { errand: Kind }>;
  /** What it is that does not answer, for the sentence. */
  readonly what: string;
  readonly signal?: AbortSignal;
  readonly limitMs?: number;
}

/** An errand that is done; its process lives until this is disposed of. */
export interface ErrandDone<Kind extends Errand["errand"]> extends Disposable {
  readonly pid: number;
  readonly startTime: string;
  readonly answer: ErrandAnswer[Kind];
}

/** @throws EngineError as the errand met it; "unavailable" after a while without an answer; the signal's reason */
export async function sendErrand<Kind extends Errand["errand"]>(
  request: ErrandRequest<Kind>,
): Promise<ErrandDone<Kind>> {
  const { command, task, what, signal, limitMs = LIMIT_MS } = request;
  signal?.throwIfAborted();
  const child = Bun.spawn([...command, JSON.stringify(task)], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  // Nobody waits for its end: in the worst case it comes with the end of the file system.
  child.unref();
  const dispose = () => {
    void Promise.resolve(child.stdin.end()).catch(() => undefined);
    child.kill("SIGKILL");
  };
  const givenUp = Promise.withResolvers<never>();
  const onAbort = () => givenUp.reject(signal?.reason as Error);
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = setTimeout(() => {
    givenUp.reject(unavailable(`${what}: the file system does not answer`));
  }, limitMs);
  try {
    const told = await Promise.race([answerOf<Kind>(child), givenUp.promise]);
    if ("error" in told) throw new EngineError(told.error.kind, told.error.message);
    const startTime = readStartTime(child.pid) ?? "0";
    return { pid: child.pid, startTime, answer: told.done, [Symbol.dispose]: dispose };
  } catch (cause) {
    dispose();
    throw cause;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

async function answerOf<Kind extends Errand["errand"]>(
  child: Bun.Subprocess<"pipe", "pipe", "pipe">,
): Promise<ErrandTold<Kind>> {
  let text = Buffer.alloc(0);
  for await (const bytes of child.stdout) {
    text = Buffer.concat([text, bytes]);
    const end = text.indexOf(10);
    if (end >= 0) return JSON.parse(text.subarray(0, end).toString()) as ErrandTold<Kind>;
    if (text.length > ANSWER_LIMIT_BYTES) break;
  }
  const said = (await new Response(child.stderr).text()).trim().slice(-1000);
  throw unavailable(`the files' process broke off: ${said}`);
}
