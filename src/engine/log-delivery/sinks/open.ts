/** Opens the sink of a server; how long each is worth trying for. */
import type { LogServer } from "../target.ts";
import { openFluentd } from "./fluentd.ts";
import { openGelf } from "./gelf.ts";
import { openJournald } from "./journald.ts";
import type { LogSink, RetryPolicy } from "./sink.ts";
import { openSyslog } from "./syslog.ts";

/** @throws Error in Go's words when the server cannot be reached */
export function openSink(server: LogServer): Promise<LogSink> {
  switch (server.driver) {
    case "syslog":
      return openSyslog(server);
    case "fluentd":
      return openFluentd(server);
    case "gelf":
      return openGelf(server);
    case "journald":
      return openJournald(server);
  }
}

const SYSLOG_TRIES = 20;
const SYSLOG_WAIT_MS = 250;
const LONGEST_WAIT_MS = 10_000;

/** Docker's: fluentd's client waits 1.5 times as long each time; the others give up soon. */
export function retryPolicyOf(server: LogServer): RetryPolicy {
  switch (server.driver) {
    case "fluentd":
      return {
        limit: server.maxRetries,
        waitMs: (attempt) =>
          Math.min(server.retryWaitMs * 1.5 ** Math.min(attempt, 30), LONGEST_WAIT_MS),
      };
    case "gelf":
      return { limit: server.maxReconnect, waitMs: () => server.reconnectDelayMs };
    case "syslog":
    case "journald":
      return { limit: SYSLOG_TRIES, waitMs: () => SYSLOG_WAIT_MS };
  }
}
