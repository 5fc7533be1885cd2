/** Numbers of the engine in Prometheus' text format, under dockerd's names. */
export { type EngineFacts, EngineMetrics } from "./engine-metrics.ts";
export { type MetricsServer, serveMetrics } from "./server.ts";
