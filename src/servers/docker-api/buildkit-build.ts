/**
 * `POST /build?version=2`: builds of a docker CLI that has BuildKit's client in it. The answer's lines carry BuildKit's
 * own messages; the context is a session's, a URL's, or comes in a request beside it under the same name.
 */
import { conflict, invalid, unavailable } from "#base";
import { parseJson, writeChunk } from "#wire/http";

import type { OpenBuildKit } from "./buildkit.ts";
import type { Call } from "./call.ts";
import { decodeBuild } from "./decode/build.ts";
import type { Routes } from "./routes.ts";

const UPLOAD = "upload-request";
const SESSION = "client-session";
/** The request with the archive and the one that asks for the build are sent at once. */
const MEETING_TIMEOUT_MS = 20_000;
const WAITING_LIMIT = 64;

interface Upload {
  readonly archive: ReadableStream<Uint8Array>;
  /** The archive was read, or is no longer wanted. */
  readonly done: () => void;
}

export class BuildKitBuilds {
  readonly #open: OpenBuildKit;
  readonly #uploads = new Map<string, PromiseWithResolvers<Upload>>();
  readonly #running = new Map<string, AbortController>();

  constructor(open: OpenBuildKit) {
    this.#open = open;
  }

  routes(): Routes {
    return {
      "POST /build/cancel": (call) => {
        const id = call.query.text("id");
        if (id === "") throw invalid("build ID not provided");
        this.#running.get(id)?.abort(new Error("the build was cancelled"));
        call.empty(204);
      },
    };
  }

  /** Whether a request is one of these. */
  static isMeant({ query }: Call): boolean {
    return query.text("version") === "2" || query.text("remote") === SESSION;
  }

  async build(call: Call): Promise<void> {
    const id = call.query.text("buildid");
    if (id.startsWith(`${UPLOAD}:`)) return await this.#upload(call, id.slice(UPLOAD.length + 1));
    const abort = new AbortController();
    if (id !== "") {
      if (this.#running.has(id)) throw conflict(`build ${id} is running`);
      this.#running.set(id, abort);
    }
    try {
      await this.#run(call, id, AbortSignal.any([call.signal, abort.signal]));
    } finally {
      if (id !== "") this.#running.delete(id);
    }
  }

  async #run(call: Call, id: string, signal: AbortSignal): Promise<void> {
    const { query } = call;
    const remote = query.text("remote");
    const session = query.text("session");
    if (session === "" && (remote === SESSION || remote === UPLOAD)) {
      throw invalid("no session given for a build of its folders");
    }
    if (query.bool("squash")) throw invalid("squash is not supported with BuildKit");
    const decoded = decodeBuild(call, null);
    const isHere = remote === SESSION || remote === UPLOAD;
    const options = { ...decoded, remote: isHere ? "" : remote };
    const outputs = decodeOutputs(query.text("outputs"));
    const buildKit = await this.#open();
    const upload = remote === UPLOAD ? await this.#meet(id, signal) : null;
    // Clients that are programs send the context with the request, as ever.
    const archive = remote === "" ? call.bytes() : (upload?.archive ?? null);
    const lines = new TraceLines(call, query.bool("q"));
    try {
      const response = await buildKit.build({
        options,
        session,
        archive,
        outputs,
        signal,
        onTrace: (trace) => lines.trace(trace),
      });
      await lines.image(response["containerimage.digest"] ?? "");
    } catch (error) {
      if (call.signal.aborted) return call.destroy();
      await lines.fail(buildKit.sayFailure(error));
    } finally {
      upload?.done();
    }
    lines.end();
  }

  /** Waits until the build has read it. */
  async #upload(call: Call, id: string): Promise<void> {
    const { promise: done, resolve } = Promise.withResolvers<void>();
    call.signal.addEventListener("abort", () => resolve(), { once: true });
    const timer = setTimeout(resolve, MEETING_TIMEOUT_MS);
    const archive = call.bytes();
    const started = archive.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          clearTimeout(timer);
          controller.enqueue(chunk);
        },
      }),
    );
    this.#place(id).resolve({ archive: started, done: resolve });
    await done;
    clearTimeout(timer);
    this.#uploads.delete(id);
    if (!call.gone) call.empty(200);
  }

  async #meet(id: string, signal: AbortSignal): Promise<Upload> {
    const late = AbortSignal.any([signal, AbortSignal.timeout(MEETING_TIMEOUT_MS)]);
    const stopped = Promise.withResolvers<null>();
    late.addEventListener("abort", () => stopped.resolve(null), { once: true });
    const upload = await Promise.race([this.#place(id).promise, stopped.promise]);
    this.#uploads.delete(id);
    if (upload === null) throw invalid("the build's context did not come");
    return upload;
  }

  #place(id: string): PromiseWithResolvers<Upload> {
    let place = this.#uploads.get(id);
    if (place === undefined) {
      if (id === "" || this.#uploads.size >= WAITING_LIMIT) {
        throw unavailable("too many contexts are being sent");
      }
      place = Promise.withResolvers<Upload>();
      this.#uploads.set(id, place);
    }
    return place;
  }
}

/** The answer: BuildKit's messages in lines of JSON, no faster than they are read. */
class TraceLines {
  readonly #call: Call;
  readonly #isQuiet: boolean;

  constructor(call: Call, isQuiet: boolean) {
    this.#call = call;
    this.#isQuiet = isQuiet;
  }

  async trace(bytes: Uint8Array): Promise<void> {
    await this.#write({ id: "moby.buildkit.trace", aux: Buffer.from(bytes).toString("base64") });
  }

  async image(id: string): Promise<void> {
    if (id === "") return;
    await this.#write({ id: "moby.image.id", aux: { ID: id } });
    if (this.#isQuiet) await this.#write({ stream: `${id}\n` });
  }

  async fail(message: string): Promise<void> {
    await this.#write({ errorDetail: { message }, error: message });
  }

  end(): void {
    if (!this.#call.begun) this.#call.begin("application/json");
    this.#call.sink.end();
  }

  async #write(line: object): Promise<void> {
    if (!this.#call.begun) this.#call.begin("application/json");
    await writeChunk(this.#call.sink, `${JSON.stringify(line)}\r\n`);
  }
}

function decodeOutputs(
  text: string,
): { type: string; attributes: Readonly<Record<string, string>> }[] {
  const parsed = text === "" ? [] : (parseJson(text) ?? []);
  if (!Array.isArray(parsed)) throw invalid("invalid outputs");
  if (parsed.length > 1) throw invalid("multiple outputs not supported");
  return parsed.map((output: unknown) => {
    const { Type: type, Attrs: attrs } = (output ?? {}) as { Type?: unknown; Attrs?: unknown };
    const pairs = Object.entries((attrs ?? {}) as Record<string, unknown>);
    return {
      type: typeof type === "string" ? type : "",
      attributes: Object.fromEntries(pairs.map(([name, value]) => [name, String(value)])),
    };
  });
}
