/** The last builds of clients, as the server that speaks with them writes them: kept beside the cache, across starts. */
import type { Store } from "#engine/store";

import type { BuildHistoryStore } from "./build-service.ts";

export function openHistory(store: Store): BuildHistoryStore {
  return {
    all: () =>
      store
        .query<{ ref: string; record: Uint8Array }>(
          "SELECT ref, record FROM build_history ORDER BY place",
        )
        .all(),
    log: (ref) =>
      store.query<{ log: Uint8Array }>("SELECT log FROM build_history WHERE ref = ?").get(ref)
        ?.log ?? null,
    save: ({ ref, record, log }) => {
      store
        .query(
          `INSERT INTO build_history (ref, record, log) VALUES (?1, ?2, coalesce(?3, x''))
           ON CONFLICT (ref) DO UPDATE SET record = ?2, log = coalesce(?3, log)`,
        )
        .run(ref, record, log);
    },
    remove: (ref) => void store.query("DELETE FROM build_history WHERE ref = ?").run(ref),
  };
}
