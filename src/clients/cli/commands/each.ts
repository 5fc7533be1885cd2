/** One request for each argument, many at a time, answers in the order of the arguments. */
import { warn } from "../terminal/stdio.ts";
import { messageFor } from "./failure.ts";

const PARALLEL = 50;

/** @returns the exit code: 1 when any failed; each failure is a line on standard error */
export async function forEachArgument(
  args: readonly string[],
  action: (arg: string) => Promise<unknown>,
  done: (arg: string) => void,
): Promise<number> {
  const failures: string[] = [];
  for (let from = 0; from < args.length; from += PARALLEL) {
    const batch = args.slice(from, from + PARALLEL);
    const results = batch.map((arg) =>
      action(arg).then(
        () => undefined,
        (cause: unknown) => messageFor(cause),
      ),
    );
    for (const [index, result] of results.entries()) {
      const failure = await result;
      if (failure === undefined) done(batch[index] ?? "");
      else failures.push(failure);
    }
  }
  for (const failure of failures) warn(failure);
  return failures.length === 0 ? 0 : 1;
}
