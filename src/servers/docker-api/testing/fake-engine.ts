/**
 * An engine without a kernel for this room's tests: the server is driven by real clients over a real socket,
 * and what it asked for can be looked at.
 */
import { notFound, unauthorized } from "#base";
import type { EventBus } from "#engine/events";

import type { ApiServices } from "../index.ts";
import { FakeContainers } from "./fake-containers.ts";
import { fakeVolumes } from "./fake-volumes.ts";
import { fakeBus, fakeImages, fakeNetworks, fakeSystem } from "./fake-services.ts";

export interface FakeEngine extends ApiServices {
  readonly containers: FakeContainers;
  readonly events: EventBus;
  /** What the server logged. */
  readonly errors: string[];
  /** Sizes of archives that were read. */
  readonly loaded: number[];
}

export function fakeEngine(): FakeEngine {
  const events = fakeBus();
  const containers = new FakeContainers(events);
  const errors: string[] = [];
  const loaded: number[] = [];
  return {
    containers,
    events,
    errors,
    loaded,
    logger: { error: (message) => void errors.push(message) },
    images: fakeImages(containers.signals, loaded),
    builds: {
      history: {
        all: () => [],
        log: () => null,
        blob: () => null,
        save: () => undefined,
        remove: () => undefined,
      },
      offerContext: () => ({ id: "", needed: [] }),
      build: async ({ context }) => {
        await context?.cancel();
        throw notFound("no build in here");
      },
      solve: () => Promise.resolve(null),
      describe: () => Promise.reject(notFound("no build in here")),
      keepImage: () => Promise.reject(notFound("no build in here")),
      packImage: () => Promise.reject(notFound("no build in here")),
      exportCaches: () => Promise.reject(notFound("no build in here")),
      cacheUsage: () => Promise.resolve([]),
      prune: () => Promise.resolve({ deleted: [], reclaimedBytes: 0 }),
    },
    openBuildKit: () => Promise.reject(notFound("no BuildKit in here")),
    networks: fakeNetworks(),
    volumes: fakeVolumes(),
    system: fakeSystem(),
    inspectRemote: ({ reference }) =>
      Promise.reject(notFound(`manifest for ${reference} not found`)),
    login: ({ credentials }) =>
      credentials.password === "right"
        ? Promise.resolve({ identityToken: "" })
        : Promise.reject(unauthorized("login attempt failed with status: 401 Unauthorized")),
  };
}
