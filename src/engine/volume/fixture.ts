/** A volume room on a real folder, for the tests of this room. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "#base";
import { openStore } from "#engine/store";

import { volumeMigrations } from "./records.ts";
import { openVolumeService } from "./service.ts";
import type { CreateVolumeRequest, VolumeMount, VolumeRoom } from "./volume-service.ts";

export interface Fixture extends AsyncDisposable {
  readonly room: VolumeRoom;
  readonly root: string;
  /** An image of two layers, topmost first. */
  readonly lowers: readonly [string, string];
  /** `type action name`, in order. */
  readonly events: string[];
  readonly warnings: string[];
  /** Containers by the volume they have. */
  readonly users: Map<string, string[]>;
  /** As after SIGKILL: `change` happens while nobody looks. */
  reopen(change?: () => void): void;
}

export const requestOf = (change: Partial<CreateVolumeRequest> = {}): CreateVolumeRequest => ({
  name: "",
  driver: "",
  options: {},
  labels: {},
  ...change,
});

export const mountOf = (name: string, change: Partial<VolumeMount> = {}): VolumeMount => ({
  name,
  target: "/data",
  readOnly: false,
  noCopy: false,
  ...change,
});

export function openFixture(): Fixture {
  const folder = mkdtempSync("/tmp/naru-test-volumes-");
  const root = join(folder, "volumes");
  const lowers = [join(folder, "upper"), join(folder, "lower")] as const;
  for (const lower of lowers) mkdirSync(lower);
  const [events, warnings]: [string[], string[]] = [[], []];
  const users = new Map<string, string[]>();
  const open = () => {
    const store = openStore({ path: join(folder, "naru.db"), migrations: volumeMigrations });
    const room = openVolumeService({
      store,
      root,
      events: {
        publish: ({ type, action, actorId }) => void events.push(`${type} ${action} ${actorId}`),
      },
      users: (name) => users.get(name) ?? [],
      clock: systemClock,
      warn: (message) => void warnings.push(message),
    });
    return { store, room };
  };
  let opened = open();
  return {
    get room() {
      return opened.room;
    },
    root,
    lowers,
    events,
    warnings,
    users,
    reopen(change = () => undefined) {
      opened.store[Symbol.dispose]();
      change();
      opened = open();
    },
    async [Symbol.asyncDispose]() {
      opened.room.reconcile(new Map());
      await opened.room.swept();
      opened.store[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What is in a folder, by name. */
export const namesIn = (path: string): string[] => readdirSync(path).toSorted();
