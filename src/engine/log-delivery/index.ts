/** Log drivers: their options in Docker's words, and the delivery of what containers print to log servers. */
import type { runDelivery as RunDelivery } from "./run.ts";

export { Deliveries } from "./deliveries.ts";
export { checkLogOptions, LOG_DRIVERS } from "./options.ts";
export { SpoolWriter } from "./spool-writer.ts";
export * from "./target.ts";
export { parseSize } from "./values.ts";

/** What the delivery process does; loaded by that process alone, with all the protocols. */
export const runDelivery: typeof RunDelivery = async (input, say) =>
  await (await import("./run.ts")).runDelivery(input, say);
