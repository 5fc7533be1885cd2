/** What a run has open, in the order it was made: given back when its scenario ends, and whatever else ends the run. */

const held = new Set<AsyncDisposable>();

/** The same, which is now given back at the end of the run if nobody did before; twice is once. */
export function hold<T extends AsyncDisposable>(thing: T): T {
  const dispose = thing[Symbol.asyncDispose].bind(thing);
  let done: Promise<void> | null = null;
  const once = () => {
    held.delete(thing);
    return (done ??= Promise.resolve(dispose()));
  };
  const owned = Object.assign(thing, { [Symbol.asyncDispose]: once });
  held.add(owned);
  return owned;
}

/** The last one first. What fails does not keep the others. @throws AggregateError */
export async function disposeHeld(): Promise<void> {
  const failures: unknown[] = [];
  for (const thing of [...held].toReversed()) {
    try {
      await thing[Symbol.asyncDispose]();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join("; "));
}
