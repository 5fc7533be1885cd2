/**
 * Progress of pull, push, load and import as Docker's JSON lines.
 *
 * The head goes out with the first line: an operation that fails before it said anything answers with a status,
 * one that fails later, or is never to have a status, says so in its last line. A client that reads slowly gets fewer updates, not a longer
 * queue: while it does not drain, only the newest update of each layer is kept.
 */
import { sentenceOf } from "#base";
import type { OnProgress, ProgressMessage } from "#engine/image";

import type { Call } from "./call.ts";

/** Lines without an id (statuses) that may wait for a slow client; beyond it the oldest go. */
const WAITING_LIMIT = 1024;

export async function answerProgress(
  call: Call,
  work: (onProgress: OnProgress, signal: AbortSignal) => Promise<void>,
  { failsInStream = false }: { readonly failsInStream?: boolean } = {},
): Promise<void> {
  const lines = new ProgressLines(call);
  try {
    await work((message) => lines.write(message), call.signal);
  } catch (error) {
    if (call.signal.aborted) {
      call.destroy();
      return;
    }
    if (!call.begun && !failsInStream) throw error;
    const message = sentenceOf(error);
    lines.write({ errorDetail: { message }, error: message });
  }
  lines.end();
}

class ProgressLines {
  readonly #call: Call;
  #waiting = new Map<string, string>();
  #unnamed = 0;
  #full = false;

  constructor(call: Call) {
    this.#call = call;
  }

  write(message: ProgressMessage): void {
    const line = `${JSON.stringify(message)}\r\n`;
    if (!this.#call.begun) this.#call.begin("application/json");
    if (this.#full) this.#keep(message, line);
    else this.#send(line);
  }

  end(): void {
    if (!this.#call.begun) this.#call.begin("application/json");
    const rest = [...this.#waiting.values()].join("");
    this.#waiting.clear();
    this.#call.sink.end(rest === "" ? undefined : rest);
  }

  #send(line: string): void {
    const { sink } = this.#call;
    if (sink.destroyed || sink.closed || sink.write(line)) return;
    this.#full = true;
    sink.once("drain", () => this.#drained());
  }

  /** A newer update takes the older one's place; a change of status stays, since clients may wait for it. */
  #keep({ id, status, progressDetail }: ProgressMessage, line: string): void {
    const update = id !== undefined && progressDetail?.current !== undefined;
    const key = update ? `${id} ${status ?? ""}` : `#${this.#unnamed++}`;
    this.#waiting.delete(key);
    this.#waiting.set(key, line);
    if (this.#waiting.size <= WAITING_LIMIT) return;
    const [oldest] = this.#waiting.keys();
    if (oldest !== undefined) this.#waiting.delete(oldest);
  }

  #drained(): void {
    this.#full = false;
    const rest = [...this.#waiting.values()].join("");
    this.#waiting.clear();
    if (rest !== "") this.#send(rest);
  }
}
