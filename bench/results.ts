/**
 * What a run of the bench writes down, and how a later run of some scenarios joins it.
 *
 *   bench/results/latest.json    the whole run, with rows of later ones merged in: each of those has a date of its own
 *   bench/results/partial.json   the last run of chosen scenarios (not in git)
 */
import { median, type Sample } from "./measure.ts";

export const LATEST = "bench/results/latest.json";
export const PARTIAL = "bench/results/partial.json";

export interface Row {
  readonly scenario: string;
  readonly unit: string;
  readonly budget: string;
  readonly medians: Readonly<Record<string, number>>;
  readonly values: Readonly<Record<string, readonly number[]>>;
  /** Naru divided by the contender it is measured against; lower is better. */
  readonly ratios: Readonly<Record<string, number>>;
  /** When, if it was not with the others. */
  readonly date?: string;
}

export interface Results {
  readonly date: string;
  readonly machine: string;
  readonly naru: string;
  readonly docker: string;
  readonly rows: readonly Row[];
  /** Scenarios that gave no row. */
  readonly failed?: readonly { readonly scenario: string; readonly reason: string }[];
}

const round = (value: number): number => Number(value.toPrecision(4));

/** @param about what is measured, in which unit, and what is wanted of it */
export function rowOf(
  about: { readonly name: string; readonly unit: string; readonly budget: string },
  samples: readonly Sample[],
): Row {
  const naru = samples.filter(({ contender }) => contender.startsWith("naru"));
  const others = samples.filter(({ contender }) => !contender.startsWith("naru"));
  const ratios = naru.flatMap((mine) =>
    others.map((other) => [
      `${mine.contender} / ${other.contender}`,
      round(median(mine.values) / median(other.values)),
    ]),
  );
  const each = <T>(of: (values: readonly number[]) => T) =>
    Object.fromEntries(samples.map(({ contender, values }) => [contender, of(values)]));
  return {
    scenario: about.name,
    unit: about.unit,
    budget: about.budget,
    medians: each((values) => round(median(values))),
    values: each((values) => values.map(round)),
    ratios: Object.fromEntries(ratios),
  };
}

/** The rows of `later` in the places of those of the same scenarios, new ones at the end. */
export function mergeResults(earlier: Results, later: Results): Results {
  const fresh = new Map(
    later.rows.map((row): [string, Row] => [row.scenario, { ...row, date: later.date }]),
  );
  const kept = earlier.rows.map((row) => {
    const newer = fresh.get(row.scenario);
    fresh.delete(row.scenario);
    return newer ?? row;
  });
  const rows = [...kept, ...fresh.values()];
  const measured = new Set(rows.map(({ scenario }) => scenario));
  const failed = (earlier.failed ?? []).filter(({ scenario }) => !measured.has(scenario));
  const { failed: _, ...rest } = earlier;
  return { ...rest, rows, ...(failed.length > 0 && { failed }) };
}

export const resultsText = (results: Results): string => `${JSON.stringify(results, null, 2)}\n`;
