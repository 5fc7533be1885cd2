/** An Nftables without a kernel: keeps the transactions, for tests of other rooms. */
import type { Nftables } from "./nftables.ts";

export class RecordingNftables implements Nftables {
  /** Every transaction, in order. */
  readonly transactions: (readonly string[])[] = [];
  /** What `list` answers, by command. */
  readonly answers = new Map<string, Record<string, unknown>[]>();
  /** Thrown by the next `apply`, once. */
  refuseNext: Error | null = null;

  apply(commands: readonly string[]): void {
    const refusal = this.refuseNext;
    this.refuseNext = null;
    if (refusal) throw refusal;
    this.transactions.push([...commands]);
  }

  list(command: string): Record<string, unknown>[] {
    return this.answers.get(command) ?? [];
  }

  [Symbol.dispose](): void {
    this.answers.clear();
  }
}
