/**
 * The birth that nobody asked for yet: a client that has created a container mostly starts it some milliseconds later.
 * Its file tree is built meanwhile by a child that waits at the barrier, with everything recorded as of a birth that is
 * under way: a supervisor that finds it after a crash undoes it. Only one at a time.
 */
import { notFound, sentenceOf } from "#base";
import type { SpareNamespace } from "#engine/network";
import type { BegunBirth } from "#engine/runtime";

import type { SupervisorParts } from "./parts.ts";
import type { AnnouncedBirth, AnnounceMessage } from "./protocol.ts";
import type { Records } from "./records.ts";
import { type PreparedStdio, prepareStdio } from "./stdio.ts";

/** A daemon that announced a birth and neither asks for it nor takes it back has died, or failed. */
const PATIENCE_MS = 3_000;
const REMOVE_WAIT = { timeoutMs: 1_000 };

export interface BirthAhead {
  readonly message: AnnounceMessage;
  readonly stdio: PreparedStdio;
  readonly begun: BegunBirth;
  readonly spare: SpareNamespace | null;
}

interface Waiting extends BirthAhead {
  /** Ends the child and gives back all that was made. */
  readonly undo: DisposableStack;
  readonly timer: Timer;
}

export class BirthsAhead {
  readonly #records: Records;
  readonly #parts: SupervisorParts;
  #waiting: Waiting | null = null;
  /** The last one that was given back, until nothing of it is left. Never rejects. */
  #leaving: { readonly id: string; readonly done: Promise<void> } | null = null;

  constructor({ records, parts }: { records: Records; parts: SupervisorParts }) {
    this.#records = records;
    this.#parts = parts;
  }

  /** Of the child that waits: nobody else knows it. */
  get pid(): number | null {
    return this.#waiting?.begun.pid ?? null;
  }

  /** At once: the birth may be the very next message. Whatever fails now is met by it again, and told then. */
  announce(message: AnnounceMessage): void {
    void this.drop();
    // Its server is asked at the birth, which waits for the answer.
    if (message.log.driver === "remote") return;
    const driver = this.#parts.openDriver(message.runtime);
    const { id, spec, link } = message;
    const key = { id };
    const records = this.#records;
    using undo = new DisposableStack();
    const folder = records.makeFolder(key);
    undo.defer(() => records.removeFolder(key));
    const { runtime, log, stdio } = message;
    const { cgroupsPath } = spec.linux;
    const container = { runtime, log, cgroupsPath, endpoints: [] };
    records.writeState({ version: 1, key, stdio, born: null, container });
    records.writeSpec(id, spec);
    const prepared = prepareStdio(folder, stdio);
    undo.defer(() => prepared.abandon());
    const spare = link === null ? null : this.#parts.takeSpareNamespace(link);
    if (spare !== null) undo.use(spare);
    const begun =
      driver.begin?.({
        ...message,
        stdio: prepared.forDriver,
        scratch: records.scratch(key),
        networkNamespace: spare?.namespace ?? null,
      }) ?? null;
    if (begun === null) return;
    undo.defer(() => begun.abandon());
    const timer = setTimeout(() => void this.drop(), PATIENCE_MS);
    timer.unref();
    this.#waiting = { message, stdio: prepared, begun, spare, timer, undo: undo.move() };
  }

  /** The rest has come: what was made is the caller's. @throws EngineError "notFound" when none waits that would fit */
  async take({ id, network }: AnnouncedBirth): Promise<BirthAhead> {
    const waiting = this.#waiting;
    if (waiting?.message.id !== id) throw notFound(`nothing was announced of container ${id}`);
    const isFitting = waiting.spare === null || this.#parts.isFor(waiting.spare, network);
    const isWaiting = waiting.begun.isWaiting();
    if (!isFitting || !isWaiting) {
      if (!isWaiting) await this.#tellEnd(waiting);
      await this.drop(id);
      throw notFound(`what was announced of container ${id} does not fit it`);
    }
    clearTimeout(waiting.timer);
    this.#waiting = null;
    return waiting;
  }

  /** Nobody is refused because of it, so nobody else would hear why. */
  async #tellEnd({ message: { id }, begun }: Waiting): Promise<void> {
    const why = await begun.lastWords().catch(sentenceOf);
    this.#parts.log("warn", `the process that waited for ${id} has ended: ${why}`);
  }

  /** Nobody will ask for it. Resolves when nothing of it is left. @param id only of this container */
  async drop(id?: string): Promise<void> {
    const waiting = this.#waiting;
    if (waiting !== null && (id === undefined || waiting.message.id === id)) {
      this.#waiting = null;
      this.#leaving = { id: waiting.message.id, done: this.#giveBack(waiting) };
    }
    const leaving = this.#leaving;
    if (leaving !== null && (id === undefined || leaving.id === id)) await leaving.done;
  }

  async #giveBack(waiting: Waiting): Promise<void> {
    clearTimeout(waiting.timer);
    try {
      waiting.undo.dispose();
    } catch (thrown) {
      this.#parts.log("warn", `give back what was announced: ${sentenceOf(thrown)}`);
    }
    // Its last process was reaped, and the kernel may still be on its way out of the cgroup.
    const cgroup = this.#parts.cgroup(waiting.message.spec.linux.cgroupsPath);
    await cgroup.remove(REMOVE_WAIT).catch((thrown: unknown) => {
      this.#parts.log("warn", `remove the cgroup of what was announced: ${sentenceOf(thrown)}`);
    });
  }
}
