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
    blob: (digest) =>
      store
        .query<{ bytes: Uint8Array }>(
          "SELECT bytes FROM build_history_blobs WHERE digest = ? LIMIT 1",
        )
        .get(digest)?.bytes ?? null,
    save: ({ ref, record, log, blobs = new Map<string, Uint8Array>() }) =>
      store.transact(() => {
        store
          .query(
            `INSERT INTO build_history (ref, record, log) VALUES (?1, ?2, coalesce(?3, x''))
             ON CONFLICT (ref) DO UPDATE SET record = ?2, log = coalesce(?3, log)`,
          )
          .run(ref, record, log);
        const add = store.query(
          "INSERT OR REPLACE INTO build_history_blobs (digest, ref, bytes) VALUES (?, ?, ?)",
        );
        for (const [digest, bytes] of blobs) add.run(digest, ref, bytes);
      }),
    remove: (ref) =>
      store.transact(() => {
        store.query("DELETE FROM build_history WHERE ref = ?").run(ref);
        store.query("DELETE FROM build_history_blobs WHERE ref = ?").run(ref);
      }),
  };
}
