/** Serves the engine's numbers where the operator wants them. */
import type { EngineMetrics, MetricsServer } from "#servers/metrics";
import { openGuard } from "#servers/docker-api";

import type { Engine } from "./daemon-engine.ts";
import type { DaemonLog } from "./daemon-log.ts";
import type { DaemonOptions } from "./daemon-options.ts";

/** What counts, loaded only where it is wanted. */
export async function openMetrics({ metrics }: DaemonOptions): Promise<EngineMetrics | null> {
  if (metrics === null) return null;
  const { EngineMetrics: Metrics } = await import("#servers/metrics");
  return new Metrics();
}

export async function listenForMetrics(
  metrics: EngineMetrics | null,
  { options, engine, log }: { options: DaemonOptions; engine: Engine; log: DaemonLog },
): Promise<MetricsServer | null> {
  const { metrics: address } = options;
  if (metrics === null || address === null) return null;
  const { serveMetrics } = await import("#servers/metrics");
  const { system, containers } = engine;
  const guard = openGuard({ names: [address.host], anyHost: false, isContainers: () => false });
  const server = await serveMetrics({
    ...address,
    guard,
    text: () =>
      metrics.text({
        system,
        counts: () => containers.counts(),
        storageDriver: "overlayfs",
      }),
  });
  const shown = address.host.includes(":") ? `[${address.host}]` : address.host;
  log.info(`metrics API listening on ${shown}:${server.port}`);
  return server;
}
