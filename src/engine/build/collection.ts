/**
 * Keeps the build cache within bounds by itself: after a start and after builds, one policy after the other, as
 * BuildKit does it.
 */
import type { BuildPruneRequest, BuildService } from "./build-service.ts";

export interface CollectionRequest {
  /** Asked anew each time: a policy may say "not used for 48h". Empty: nothing is ever collected. */
  readonly policies: () => readonly BuildPruneRequest[];
  /** Told of what failed and of what was deleted. */
  readonly onCollected: (outcome: { reclaimedBytes: number } | { failure: unknown }) => void;
}

/** After what has just ended comes what uses its cache. */
const DELAY_MS = 1000;
/** Each looks at every file of every cache mount. */
const INTERVAL_MS = 60_000;

/** The service with its cache collected; `stop` ends that. */
export function collectCache(
  builds: BuildService,
  { policies, onCollected }: CollectionRequest,
): { readonly builds: BuildService; readonly stop: () => void } {
  let timer: Timer | null = null;
  let lastMs = Number.NEGATIVE_INFINITY;
  let stopped = false;
  const collect = async (): Promise<void> => {
    lastMs = performance.now();
    let reclaimedBytes = 0;
    try {
      for (const policy of policies()) {
        if (stopped) return;
        reclaimedBytes += (await builds.prune(policy)).reclaimedBytes;
      }
      onCollected({ reclaimedBytes });
    } catch (failure) {
      onCollected({ failure });
    }
  };
  const soon = (): void => {
    if (timer !== null || stopped) return;
    const waitMs = Math.max(DELAY_MS, lastMs + INTERVAL_MS - performance.now());
    timer = setTimeout(() => {
      // What ends while it runs is looked at by the next.
      timer = null;
      void collect();
    }, waitMs).unref();
  };
  soon();
  return {
    builds: {
      ...builds,
      build: async (request) => {
        try {
          return await builds.build(request);
        } finally {
          soon();
        }
      },
    },
    stop: () => {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
    },
  };
}
