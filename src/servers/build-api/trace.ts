/**
 * How long each part of a build took, as OpenTelemetry's spans in the form that BuildKit keeps and buildx reads: JSON
 * objects one after the other. Pure. Source: opentelemetry-go, sdk/trace/tracetest, SpanStub.
 */
import { digestHex, digestOf } from "#oci";

import type { StatusUpdate } from "./status-log.ts";

type Vertex = NonNullable<StatusUpdate["vertexes"]>[number];

export const TRACE_TYPE = "application/vnd.buildkit.otlp.json.v0";
/** Of one build; the largest Dockerfiles have some hundreds of steps. */
const SPAN_LIMIT = 4096;

interface Span {
  readonly id: string;
  readonly name: string;
  readonly startedAt: Date;
  readonly endedAt: Date;
  readonly attributes: Readonly<Record<string, string>>;
  /** "" where it went well. */
  readonly error: string;
}

const hexOf = (text: string, length: number): string =>
  digestHex(digestOf(new TextEncoder().encode(text))).slice(0, length);

/** @param build.updates everything it told */
export function traceOf(build: {
  readonly ref: string;
  readonly startedAt: Date;
  readonly endedAt: Date;
  readonly error: string;
  readonly updates: readonly StatusUpdate[];
}): Uint8Array<ArrayBuffer> {
  const { ref, startedAt, endedAt, error } = build;
  const traceId = hexOf(`trace ${ref}`, 32);
  const root: Span = {
    id: hexOf(`span ${ref}`, 16),
    name: "moby.buildkit.v1.Control/Solve",
    startedAt,
    endedAt,
    attributes: { ref },
    error,
  };
  const parts = spansIn(build.updates, endedAt);
  const lines = [
    encodeSpan(root, { traceId, parent: null, children: parts.length }),
    ...parts.map((span) => encodeSpan(span, { traceId, parent: root.id, children: 0 })),
  ];
  return new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
}

/** The last that was told of each vertex. */
function spansIn(updates: readonly StatusUpdate[], endedAt: Date): Span[] {
  const last = new Map<string, Vertex>();
  for (const { vertexes = [] } of updates) {
    for (const vertex of vertexes) last.set(vertex.digest ?? "", vertex);
  }
  return [...last].slice(0, SPAN_LIMIT).flatMap(([digest, vertex]) => {
    const { name = "", started, completed, cached = false, error = "" } = vertex;
    if (started === undefined) return [];
    const attributes = { vertex: digest, cached: String(cached) };
    const end = completed === undefined ? endedAt : dateOf(completed);
    const id = hexOf(`span ${digest}`, 16);
    return [{ id, name, startedAt: dateOf(started), endedAt: end, attributes, error }];
  });
}

const dateOf = ({ seconds = 0n, nanos = 0 }: { seconds?: bigint; nanos?: number }): Date =>
  new Date(Number(seconds) * 1000 + nanos / 1e6);

function encodeSpan(
  { id, name, startedAt, endedAt, attributes, error }: Span,
  about: { readonly traceId: string; readonly parent: string | null; readonly children: number },
): string {
  const { traceId, parent, children } = about;
  const text = (key: string, value: string) => ({
    Key: key,
    Value: { Type: "STRING", Value: value },
  });
  return JSON.stringify({
    Name: name,
    SpanContext: contextOf(traceId, id),
    Parent:
      parent === null ? contextOf("0".repeat(32), "0".repeat(16)) : contextOf(traceId, parent),
    SpanKind: 1,
    StartTime: startedAt.toISOString(),
    EndTime: endedAt.toISOString(),
    Attributes: Object.entries(attributes).map(([key, value]) => text(key, value)),
    Events: null,
    Links: null,
    Status: { Code: error === "" ? "Unset" : "Error", Description: error },
    DroppedAttributes: 0,
    DroppedEvents: 0,
    DroppedLinks: 0,
    ChildSpanCount: children,
    Resource: [text("service.name", "naru")],
    InstrumentationLibrary: { Name: "naru", Version: "", SchemaURL: "" },
  });
}

const contextOf = (traceId: string, spanId: string) => ({
  TraceID: traceId,
  SpanID: spanId,
  TraceFlags: traceId.startsWith("0".repeat(32)) ? "00" : "01",
  TraceState: "",
  Remote: false,
});
