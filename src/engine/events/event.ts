/** What happened, for `docker events`. */

export type EventType = "container" | "image" | "network" | "volume" | "daemon" | "builder";

export interface EngineEvent {
  readonly type: EventType;
  /** Docker's word: "create", "start", "die", "exec_create: sh", "pull", … */
  readonly action: string;
  readonly actorId: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Nanoseconds since 1970. */
  readonly timeNano: bigint;
}

export interface EventBus {
  publish(event: Omit<EngineEvent, "timeNano">): void;
  /** Live events until the signal aborts; a slow reader is cut off at a named bound, never buffered without end. */
  subscribe(signal: AbortSignal): AsyncIterable<EngineEvent>;
  /** What happened between two instants, oldest first. */
  past(range: { sinceNano: bigint; untilNano: bigint }): Iterable<EngineEvent>;
}
