/** What supervisor and delivery process say to each other: JSON, one message a line, over the latter's stdin and stdout. */
import type { Delivery } from "./target.ts";

/** One log that is to be delivered; written to `<folder>/job.json` until it is. */
export interface DeliveryJob {
  /** Its name, and where its entries, its job and how far it came lie. */
  readonly folder: string;
  readonly delivery: Delivery;
}

export type ToDelivery =
  | {
      readonly type: "open";
      readonly seq: number;
      readonly job: DeliveryJob;
      /** A server that is not there is an error now; otherwise it is waited for. */
      readonly mustConnect: boolean;
    }
  /** No more will be written. */
  | { readonly type: "end"; readonly folder: string }
  /** The container is gone: the folder goes too once everything is delivered, or soon if it cannot be. */
  | { readonly type: "remove"; readonly folder: string };

export type FromDelivery =
  | { readonly type: "opened"; readonly seq: number; readonly error: string | null }
  /** Everything up to the entry of this time. */
  | { readonly type: "delivered"; readonly folder: string; readonly time: string }
  | { readonly type: "log"; readonly message: string }
  /** Nothing is left to do. */
  | { readonly type: "idle" };

const LINE_LIMIT = 4 * 1024 * 1024;

/** Every line of a stream, parsed. Ends with it. */
export async function* readMessages<T>(stream: ReadableStream<Uint8Array>): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LINE_LIMIT) throw new Error("a message is too long");
    for (const line of lines) yield JSON.parse(line) as T;
  }
}
