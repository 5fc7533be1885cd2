/**
 * The delivery process: everything that speaks to log servers, away from the supervisor, whose heap stays small and
 * whose loop never waits. It ends with its supervisor (its stdin ends) at once: how far it came is on disk.
 */
import { rm } from "node:fs/promises";

import { sentenceOf } from "#base";

import { type FromDelivery, readMessages, type ToDelivery } from "./messages.ts";
import { Shipment } from "./shipment.ts";
import { openSink } from "./sinks/open.ts";
import { hasJob } from "./spool.ts";

/** Serves until its input ends. */
export async function runDelivery(
  input: ReadableStream<Uint8Array>,
  say: (message: FromDelivery) => void,
): Promise<void> {
  const shipments = new Map<string, Shipment>();

  const open = async (request: Extract<ToDelivery, { type: "open" }>) => {
    const { seq, job, mustConnect } = request;
    const { server } = job.delivery;
    const isLazy = !mustConnect || (server.driver === "fluentd" && server.isAsync);
    try {
      const sink = isLazy ? null : await openSink(server);
      const running = shipments.get(job.folder);
      if (running !== undefined) running.reopen(job, sink);
      else start(new Shipment(job, sink, hooksOf(job.folder)), job.folder);
      say({ type: "opened", seq, error: null });
    } catch (cause) {
      say({ type: "opened", seq, error: sentenceOf(cause) });
    }
  };
  const hooksOf = (folder: string) => ({
    delivered: (time: string) => say({ type: "delivered", folder, time }),
    warn: (message: string) => say({ type: "log", message: `log of ${folder}: ${message}` }),
  });
  const start = (shipment: Shipment, folder: string) => {
    shipments.set(folder, shipment);
    const finish = async () => {
      try {
        await shipment.done;
      } catch (cause) {
        say({ type: "log", message: `log of ${folder}: ${sentenceOf(cause)}` });
      }
      shipments.delete(folder);
      if (shipment.isRemoved) await rm(folder, { recursive: true, force: true });
      if (shipments.size === 0) say({ type: "idle" });
    };
    void finish();
  };

  for await (const message of readMessages<ToDelivery>(input)) {
    const shipment = message.type === "open" ? undefined : shipments.get(message.folder);
    switch (message.type) {
      case "open":
        void open(message);
        break;
      case "end":
        shipment?.end();
        break;
      case "remove":
        if (shipment !== undefined) shipment.remove();
        else if (!hasJob(message.folder))
          await rm(message.folder, { recursive: true, force: true });
    }
  }
  for (const shipment of shipments.values()) shipment.flush();
}
