/**
 * The execs of containers: what was asked, and how it stands. Written down before the process is made, so a
 * restarted daemon still knows them; an end is written with the next transaction anyone makes, since the supervisor
 * keeps its own record of it until then.
 */
import { noSuch } from "#base";
import type { Store } from "#engine/store";

import type { ExecInstance } from "./container-service.ts";

/** Execs that ended and that a container keeps for inspect: the oldest go first. */
const ENDED_LIMIT = 64;
/** Execs of one container that were created and not started, or run: of the former, the oldest go first. */
export const OPEN_LIMIT = 4096;

export class ExecTable {
  readonly #store: Store;
  readonly #byId = new Map<string, ExecInstance>();
  readonly #idsOf = new Map<string, Set<string>>();
  readonly #unwritten = new Set<string>();

  constructor(store: Store) {
    this.#store = store;
    for (const { record } of store.query<{ record: string }>("SELECT record FROM execs").all()) {
      this.#remember(JSON.parse(record) as ExecInstance);
    }
    store.beforeCommit(() => this.#writeWaiting());
  }

  /** @throws EngineError "notFound" */
  must(id: string): ExecInstance {
    const exec = this.#byId.get(id);
    if (exec === undefined) throw noSuch("exec instance", id);
    return exec;
  }

  get(id: string): ExecInstance | undefined {
    return this.#byId.get(id);
  }

  idsOf(containerId: string): string[] {
    return [...(this.#idsOf.get(containerId) ?? [])];
  }

  /** Those that have not ended. */
  openIdsOf(containerId: string): string[] {
    return this.idsOf(containerId).filter((id) => this.#statusOf(id) !== "exited");
  }

  /** Written with the next transaction: a start makes one, and what never started needs none. */
  put(exec: ExecInstance): void {
    this.#remember(exec);
    this.#unwritten.add(exec.id);
    if (exec.state.status === "exited") this.#forgetOldest(exec.containerId);
  }

  /** Written when this returns, for the next daemon: a power cut ends the exec itself, and its container. */
  write(exec: ExecInstance): void {
    this.put(exec);
    this.#store.transact(() => null, "process");
  }

  /** Nobody will ask for it again. */
  remove(containerId: string, id: string): void {
    if (this.#byId.has(id)) this.#forget(containerId, id);
  }

  /**
   * Makes room for one more exec of a container, if need be at the cost of the oldest that nobody started.
   * @returns false when all that are open run, or are about to
   */
  makeRoom(containerId: string, starting: Pick<ReadonlySet<string>, "has">): boolean {
    const open = this.openIdsOf(containerId);
    if (open.length < OPEN_LIMIT) return true;
    const oldest = open.find((id) => this.#statusOf(id) === "created" && !starting.has(id));
    if (oldest === undefined) return false;
    this.#forget(containerId, oldest);
    return true;
  }

  /** The container is gone, and with it, by its foreign key, the rows. */
  forgetContainer(containerId: string): void {
    for (const id of this.idsOf(containerId)) {
      this.#byId.delete(id);
      this.#unwritten.delete(id);
    }
    this.#idsOf.delete(containerId);
  }

  #remember(exec: ExecInstance): void {
    this.#byId.set(exec.id, exec);
    const ids = this.#idsOf.get(exec.containerId);
    if (ids === undefined) this.#idsOf.set(exec.containerId, new Set([exec.id]));
    else ids.add(exec.id);
  }

  #writeWaiting(): void {
    for (const id of this.#unwritten) {
      const exec = this.#byId.get(id);
      if (exec === undefined) this.#store.query("DELETE FROM execs WHERE id = ?").run(id);
      else {
        this.#store
          .query(
            `INSERT INTO execs (id, container_id, record)
             SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM containers WHERE id = ?2)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record`,
          )
          .run(id, exec.containerId, JSON.stringify(exec));
      }
    }
    this.#unwritten.clear();
  }

  #forgetOldest(containerId: string): void {
    const ended = this.idsOf(containerId).filter((id) => this.#statusOf(id) === "exited");
    for (const id of ended.slice(0, Math.max(0, ended.length - ENDED_LIMIT))) {
      this.#forget(containerId, id);
    }
  }

  /** Its row, if it has one, goes with the next transaction. */
  #forget(containerId: string, id: string): void {
    this.#byId.delete(id);
    this.#idsOf.get(containerId)?.delete(id);
    this.#unwritten.add(id);
  }

  #statusOf(id: string): ExecInstance["state"]["status"] | undefined {
    return this.#byId.get(id)?.state.status;
  }
}
