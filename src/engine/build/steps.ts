/** One step: is its result known, is somebody else just making it, or is it made now. */
import { sentenceOf } from "#base";
import type { Lease } from "#engine/gc";
import { type Digest, digestHex, digestOf } from "#oci";

import { type CachedStep, type StepReads, whyMissed } from "./cache.ts";
import type { Context } from "./context.ts";

export interface StepOrder {
  readonly slot: string;
  readonly description: string;
  readonly parent: string;
  readonly reads: StepReads;
  readonly noCache: boolean;
  /** Not shared with builds that make the same at once: a person may stay in it when it fails. */
  readonly alone: boolean;
  /** What a cache of elsewhere has under a key. */
  readonly imported: (key: string) => { layer: Digest | null; createdMs: number } | null;
  /** Makes the layer; null for a step that needs none. */
  readonly make: (signal: AbortSignal) => Promise<Digest | null>;
  readonly signal: AbortSignal;
  readonly lease: Lease;
  /** Told before the work: found, or why not. */
  readonly onCache: (hit: boolean, why: string) => Promise<void>;
}

export interface StepDone {
  readonly key: string;
  readonly layer: Digest | null;
  readonly createdMs: number;
  readonly hit: boolean;
}

const hexOf = (text: string): string => digestHex(digestOf(new TextEncoder().encode(text)));

/** What decides about a result, as one name. */
export function keyOf({ facts }: StepReads): string {
  const sorted = Object.entries(facts).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return hexOf(JSON.stringify(sorted));
}

/** A step that was done here, and whose layer is still there. */
function cached({ cache, layers }: Context, key: string): CachedStep | null {
  const known = cache.get(key);
  return known !== null && (known.layer === null || layers.has(known.layer)) ? known : null;
}

export const isKnown = (context: Context, key: string): boolean => cached(context, key) !== null;

export async function takeStep(context: Context, order: StepOrder): Promise<StepDone> {
  const key = keyOf(order.reads);
  order.signal.throwIfAborted();
  const known = order.noCache ? null : cached(context, key);
  if (known !== null) {
    if (known.layer !== null) order.lease.keep({ layers: [known.layer] });
    await order.onCache(true, "");
    return { key, layer: known.layer, createdMs: known.createdMs, hit: true };
  }
  const given = order.noCache ? null : order.imported(key);
  if (given !== null) {
    if (given.layer !== null) order.lease.keep({ layers: [given.layer] });
    await order.onCache(true, "");
    return { key, ...given, hit: true };
  }
  const why = order.noCache
    ? "the cache was not to be used"
    : whyMissed(order.reads, context.cache.lastReads(order.slot));
  await order.onCache(false, why);
  const { layer, createdMs } = await shared(context, key, order);
  return { key, layer, createdMs, hit: false };
}

/** Another build that makes the same is waited for; if it gives up, the step is made here after all. */
async function shared(
  context: Context,
  key: string,
  order: StepOrder,
): Promise<{ layer: Digest | null; createdMs: number }> {
  const { doing } = context;
  const { signal, lease } = order;
  for (;;) {
    const other = order.noCache || order.alone ? undefined : doing.get(key);
    if (other === undefined) break;
    const done = await Promise.race([other.catch(() => null), abortOf(signal)]);
    signal.throwIfAborted();
    if (done === null) continue;
    if (done.layer !== null) lease.keep({ layers: [done.layer] });
    return done;
  }
  const result = make(context, key, order);
  if (order.alone) return await result;
  doing.set(key, result);
  try {
    return await result;
  } finally {
    if (doing.get(key) === result) doing.delete(key);
  }
}

const abortOf = (signal: AbortSignal): Promise<null> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener("abort", () => resolve(null), { once: true });
  });

async function make(
  context: Context,
  key: string,
  order: StepOrder,
): Promise<{ layer: Digest | null; createdMs: number }> {
  const { cache, layers, gc, clock } = context;
  const hold = gc.hold();
  try {
    const layer = await order.make(order.signal);
    const createdMs = clock.now().getTime();
    const sizeBytes = layer === null ? 0 : (layers.info(layer)?.contentSizeBytes ?? 0);
    const { slot, description, parent, reads } = order;
    try {
      cache.put({ key, slot, description, layer, parent, createdMs, sizeBytes, reads });
    } catch (cause) {
      context.log.warn("a build step was not remembered", { error: sentenceOf(cause) });
    }
    if (layer !== null) order.lease.keep({ layers: [layer] });
    return { layer, createdMs };
  } finally {
    hold[Symbol.dispose]();
  }
}
