/** Numbers of a run: medians, since the machine is noisy. */

export interface Sample {
  /** Who: "naru", "docker", "crun", … */
  readonly contender: string;
  readonly values: number[];
}

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
};

/** One way of doing the job that is compared. */
export interface Contender {
  readonly name: string;
  /** Does the job once and answers the measured number; preparation that is not measured goes before. */
  readonly once: () => Promise<number>;
  /** Fewer than the others, for one that takes so long that more would tell nothing new. */
  readonly rounds?: number;
  readonly warmUps?: number;
}

/** Runs everybody in turn, A B A B, with a pause: a tight loop would hide RCU grace periods. */
export async function inTurn(
  contenders: readonly Contender[],
  options: { readonly rounds: number; readonly pauseMs?: number; readonly warmUps?: number },
): Promise<Sample[]> {
  const all = options.warmUps ?? 1;
  for (let round = 0; round < all; round += 1) {
    for (const { once, warmUps = all } of contenders) if (round < warmUps) await once();
  }
  const samples = contenders.map(({ name }) => ({ contender: name, values: [] as number[] }));
  for (let round = 0; round < options.rounds; round += 1) {
    for (const [index, { once, rounds = options.rounds }] of contenders.entries()) {
      if (round >= rounds) continue;
      await Bun.sleep(options.pauseMs ?? 100);
      samples[index]?.values.push(await once());
    }
  }
  return samples;
}

/** A command's wall-clock time in milliseconds. @throws when it exits with anything but 0 */
export async function timeCommand(
  command: readonly string[],
  env: Record<string, string> = {},
): Promise<number> {
  const started = performance.now();
  const child = Bun.spawn([...command], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    env: { ...process.env, ...env },
  });
  const code = await child.exited;
  const tookMs = performance.now() - started;
  if (code !== 0) {
    const stderr = await new Response(child.stderr).text();
    throw new Error(`${command.join(" ")} exited with ${code}: ${stderr}`);
  }
  return tookMs;
}

/** A command's processor time, user and system, in milliseconds. */
export async function cpuOfCommand(
  command: readonly string[],
  env: Record<string, string> = {},
): Promise<number> {
  const child = Bun.spawn([...command], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    env: { ...process.env, ...env },
  });
  await child.exited;
  return Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1000;
}

/** Runs a command to its end and answers its stdout. @throws when it fails */
export async function output(
  command: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  const child = Bun.spawn([...command], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...env },
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} exited with ${code}: ${stderr}`);
  return stdout.trim();
}
