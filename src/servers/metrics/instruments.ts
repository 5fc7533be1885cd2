/** Counters and histograms, and how Prometheus reads them. Source: Prometheus' text exposition format 0.0.4. */

/** The client libraries' default buckets, in seconds: dockerd's. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

/** One metric: its two comments and a line for each sample. */
export const familyText = (
  name: string,
  { type, help, samples }: { type: "counter" | "gauge"; help: string; samples: readonly Sample[] },
): string =>
  [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(({ labels = {}, value }) => `${name}${labelText(labels)} ${value}`),
  ].join("\n");

const labelText = (labels: Labels): string => {
  const pairs = Object.entries(labels).map(
    ([name, value]) =>
      `${name}="${value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"')}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
};

interface Series {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** How long things took, by one label of few values, or none. */
export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #label: string | null;
  readonly #series = new Map<string, Series>();

  /** @param label null for one series without a label */
  constructor(name: string, help: string, label: string | null) {
    this.#name = name;
    this.#help = help;
    this.#label = label;
  }

  observe(value: string, seconds: number): void {
    let series = this.#series.get(value);
    if (series === undefined) {
      series = { counts: BUCKETS.map(() => 0), sum: 0, count: 0 };
      this.#series.set(value, series);
    }
    series.sum += seconds;
    series.count += 1;
    for (const [index, limit] of BUCKETS.entries()) {
      if (seconds <= limit) series.counts[index] = (series.counts[index] ?? 0) + 1;
    }
  }

  #sorted(): [string, Series][] {
    return [...this.#series].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }

  text(): string {
    const name = this.#name;
    const lines = [`# HELP ${name} ${this.#help}`, `# TYPE ${name} histogram`];
    for (const [value, { counts, sum, count }] of this.#sorted()) {
      const labels: Labels = this.#label === null ? {} : { [this.#label]: value };
      const bucket = (le: string, sofar: number) =>
        `${name}_bucket${labelText({ ...labels, le })} ${sofar}`;
      lines.push(
        ...BUCKETS.map((limit, index) => bucket(String(limit), counts[index] ?? 0)),
        bucket("+Inf", count),
        `${name}_sum${labelText(labels)} ${sum}`,
        `${name}_count${labelText(labels)} ${count}`,
      );
    }
    return lines.join("\n");
  }
}

/**
 * An object whose calls by these names are timed when they succeed, each under its label; everything else is its own.
 */
export function timed<T extends object>(
  target: T,
  actions: Readonly<Partial<Record<keyof T, string>>>,
  histogram: Histogram,
): T {
  return observed(target, actions, (label, started) => {
    histogram.observe(label, (performance.now() - started) / 1000);
  });
}

/** As `timed`, for whoever counts. @param onEnd called after a success; failures go to `onFailure` */
export function observed<T extends object>(
  target: T,
  actions: Readonly<Partial<Record<keyof T, string>>>,
  onEnd: (label: string, startedAt: number) => void,
  onFailure?: (label: string, cause: unknown) => void,
): T {
  const wrapped = new Map<PropertyKey, unknown>();
  return new Proxy(target, {
    get(of, key) {
      const known = wrapped.get(key);
      if (known !== undefined) return known;
      // A method of a class with private fields wants the object itself, not its proxy.
      const value: unknown = Reflect.get(of, key, of);
      if (typeof value !== "function") return value;
      const label = (actions as Readonly<Record<PropertyKey, string | undefined>>)[key];
      const call = (...args: unknown[]): unknown => {
        const started = performance.now();
        const result: unknown = Reflect.apply(value, of, args);
        if (label === undefined) return result;
        if (!(result instanceof Promise)) {
          onEnd(label, started);
          return result;
        }
        return result.then(
          (done: unknown) => {
            onEnd(label, started);
            return done;
          },
          (cause: unknown) => {
            onFailure?.(label, cause);
            throw cause;
          },
        );
      };
      wrapped.set(key, call);
      return call;
    },
  });
}
