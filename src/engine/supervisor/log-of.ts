/** The log of one container's init, and what an earlier supervisor was about to write into it. */
import { type LogTarget, SpoolWriter } from "#engine/log-delivery";
import { discardingLogWriter, type LogStream, type LogWriter, openLogWriter } from "#engine/logs";

import type { HandedProcess } from "./handover.ts";
import { peekPipe } from "./output.ts";
import { type OutputLedger, streamName } from "./output-ledger.ts";
import type { SupervisorParts } from "./parts.ts";
import type { ProcessKey } from "./protocol.ts";
import type { ContainerState } from "./records.ts";
import type { StreamHandles } from "./stdio.ts";

const STREAMS = ["stdout", "stderr"] as const;

export function openLog(
  { deliveries }: Pick<SupervisorParts, "deliveries">,
  container: ContainerState | null,
): LogWriter {
  const target = container?.log;
  if (target?.driver === "remote") return new SpoolWriter(target, deliveries);
  const isKept = target?.driver === "json-file" || target?.driver === "local";
  return isKept ? openLogWriter(target) : discardingLogWriter();
}

/** Where it is one file: its output is kept until it is written there. */
const fileOf = (target: LogTarget | undefined): string | null =>
  target?.driver === "json-file" || target?.driver === "local" ? target.path : null;

type Unfinished = HandedProcess["unfinished"];

interface Recovery {
  readonly parts: Pick<SupervisorParts, "deliveries">;
  readonly ledger: OutputLedger | null;
  readonly key: ProcessKey;
  readonly container: ContainerState | null;
}

/**
 * The log of a process that is taken over, put in order: with the line that was being printed.
 * @param request.unfinished what an upgraded supervisor handed over; absent: what one that died left
 */
export function reopenLog(
  request: Recovery & {
    readonly handles: Pick<StreamHandles, LogStream>;
    readonly unfinished?: Unfinished;
  },
): LogWriter {
  const begun = request.unfinished ?? recoverOutput(request, request.handles);
  const log = openLog(request.parts, request.container);
  writeUnfinished(log, begun);
  return log;
}

/** Of a process that ended while no supervisor lived, and whose pipes ended with it. */
export function writeLastWords(request: Recovery): void {
  const { parts, ledger, key, container } = request;
  const begun = recoverOutput(request, null);
  if (begun.stdout !== "" || begun.stderr !== "") {
    const log = openLog(parts, container);
    writeUnfinished(log, begun);
    log.close();
  }
  for (const stream of STREAMS) ledger?.release(streamName(key, stream));
}

/** @param handles null when its pipes are gone */
function recoverOutput(
  { ledger, key, container }: Recovery,
  handles: Pick<StreamHandles, LogStream> | null,
): Unfinished {
  const logPath = fileOf(container?.log);
  const begun = (stream: LogStream): string => {
    if (ledger === null || logPath === null) return "";
    const pipe = handles?.[stream] ?? null;
    const found =
      pipe === null ? null : { logPath, peek: (limitBytes: number) => peekPipe(pipe, limitBytes) };
    return Buffer.from(ledger.recover(streamName(key, stream), found)).toString("base64");
  };
  return { stdout: begun("stdout"), stderr: begun("stderr") };
}

function writeUnfinished(log: LogWriter, begun: Unfinished): void {
  for (const stream of STREAMS) log.write(stream, Buffer.from(begun[stream], "base64"));
}
