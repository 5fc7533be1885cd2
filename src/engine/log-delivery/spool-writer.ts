/**
 * The writing end of a log that is delivered: the same files as any other, and, where the container is to wait for
 * its log server, a count of what is written and not delivered yet.
 */
import { type LogStream, type LogWriter, openLogWriter } from "#engine/logs";

import type { Deliveries } from "./deliveries.ts";
import type { LogTarget } from "./target.ts";

/** A container waits once so much is not delivered. */
const FULL_BYTES = 1024 * 1024;
const ROOM_BYTES = FULL_BYTES / 2;
/** How exactly the count is kept. */
const MARK_BYTES = 16 * 1024;

/** How much was written up to the entry of a time. */
interface Mark {
  readonly time: string;
  readonly bytes: number;
}

export class SpoolWriter implements LogWriter {
  /** Called when there is room again after `mustWait`. */
  onRoom: () => void = () => undefined;
  readonly #writer: LogWriter;
  readonly #folder: string;
  readonly #deliveries: Deliveries;
  readonly #isBlocking: boolean;
  #marks: Mark[] = [];
  #writtenBytes = 0;
  #deliveredBytes = 0;

  constructor(target: Extract<LogTarget, { driver: "remote" }>, deliveries: Deliveries) {
    this.#folder = target.folder;
    this.#deliveries = deliveries;
    this.#isBlocking = target.delivery.isBlocking;
    const { maxFiles } = target.file;
    this.#writer = openLogWriter(target.file, {
      wrote: (bytes, time) => this.#wrote(bytes, time),
      // What goes with the oldest file must be delivered; where nobody waits, it may be lost.
      mayRotate: (sizeBytes) =>
        !this.#isBlocking || this.#lagBytes <= (maxFiles > 1 ? sizeBytes : 0),
    });
    deliveries.listen(this.#folder, (time) => this.#onDelivered(time));
  }

  get droppedEntries(): number {
    return this.#writer.droppedEntries;
  }

  get mustWait(): boolean {
    return this.#isBlocking && this.#lagBytes > FULL_BYTES;
  }

  write(stream: LogStream, bytes: Uint8Array): void {
    this.#writer.write(stream, bytes);
  }

  end(stream: LogStream): void {
    this.#writer.end(stream);
  }

  unfinished(stream: LogStream): Uint8Array {
    return this.#writer.unfinished(stream);
  }

  close(): void {
    this.#writer.close();
    this.#deliveries.end(this.#folder);
  }

  get #lagBytes(): number {
    return this.#writtenBytes - this.#deliveredBytes;
  }

  #wrote(bytes: number, time: string): void {
    this.#writtenBytes += bytes;
    if (!this.#isBlocking) return;
    // A trickle of short lines needs no mark each: the last one moves on.
    const [last, before] = [this.#marks.at(-1), this.#marks.at(-2)];
    const isNear = last !== undefined && last.bytes - (before?.bytes ?? 0) < MARK_BYTES;
    if (isNear) this.#marks.pop();
    this.#marks.push({ time, bytes: this.#writtenBytes });
  }

  #onDelivered(time: string): void {
    let index = 0;
    while (index < this.#marks.length && (this.#marks[index]?.time ?? "") <= time) index += 1;
    if (index === 0) return;
    this.#deliveredBytes = this.#marks[index - 1]?.bytes ?? this.#deliveredBytes;
    this.#marks = this.#marks.slice(index);
    if (this.#lagBytes <= ROOM_BYTES) this.onRoom();
  }
}
