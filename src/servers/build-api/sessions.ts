/** Sessions of clients: connections over which the engine asks them for files, secrets and credentials. */
import type { Duplex } from "node:stream";

import { conflict, invalid, unavailable } from "#base";
import { GrpcConnection, type GrpcRouter } from "#wire/grpc";

import { Session } from "./session.ts";

/** A build has one; `bake` opens one for all of its targets, compose one for each service. */
const SESSION_LIMIT = 128;
/** A build may be asked for before its session is there; both are on their way at once. */
const ARRIVAL_TIMEOUT_MS = 20_000;
const ID_LIMIT = 256;

export interface SessionHead {
  readonly id: string;
  readonly sharedKey: string;
  /** `/package.Service/Method` of everything it answers. */
  readonly methods: readonly string[];
}

export class Sessions {
  readonly #sessions = new Map<string, Session>();
  #arrived = Promise.withResolvers<void>();

  /** Before the connection is taken over. @throws EngineError */
  check({ id }: SessionHead): void {
    if (id === "" || id.length > ID_LIMIT) throw invalid("invalid session: it has no id");
    if (this.#sessions.has(id)) throw conflict(`session ${id} already exists`);
    if (this.#sessions.size >= SESSION_LIMIT) throw unavailable("too many sessions");
  }

  /** @returns aborts when the session has ended */
  open(socket: Duplex, head: SessionHead): AbortSignal {
    const { id } = head;
    const session = new Session(new GrpcConnection(socket), head);
    this.#sessions.set(id, session);
    session.closed.addEventListener("abort", () => {
      if (this.#sessions.get(id) === session) this.#sessions.delete(id);
      session[Symbol.dispose]();
    });
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
    return session.closed;
  }

  /** Waits for it to arrive. @throws EngineError "unavailable" when it does not */
  async get(id: string, signal: AbortSignal): Promise<Session> {
    if (id === "") throw invalid("no session: the client has no part in this build");
    const late = AbortSignal.any([signal, AbortSignal.timeout(ARRIVAL_TIMEOUT_MS)]);
    const stopped = Promise.withResolvers<void>();
    const stop = () => stopped.resolve();
    late.addEventListener("abort", stop, { once: true });
    try {
      for (;;) {
        const session = this.#sessions.get(id);
        if (session !== undefined) return session;
        signal.throwIfAborted();
        if (late.aborted)
          throw unavailable(`no active session for ${id}: context deadline exceeded`);
        await Promise.race([this.#arrived.promise, stopped.promise]);
      }
    } finally {
      late.removeEventListener("abort", stop);
    }
  }
}

/**
 * A session that comes as a call on the connection that the client has already: `bake` shares one between its targets.
 * Source: moby/buildkit, session/grpchijack.
 */
export function addSessions(router: GrpcRouter, sessions: Sessions): void {
  router.tunnel("/moby.buildkit.v1.Control/Session", async (connection, { header, signal }) => {
    const head = {
      id: header("x-docker-expose-session-uuid"),
      sharedKey: header("x-docker-expose-session-sharedkey"),
      methods: header("x-docker-expose-session-grpc-method")
        .split(",")
        .map((method) => method.trim()),
    };
    sessions.check(head);
    const closed = AbortSignal.any([signal, sessions.open(connection, head)]);
    const { promise, resolve } = Promise.withResolvers<void>();
    closed.addEventListener("abort", () => resolve(), { once: true });
    if (closed.aborted) resolve();
    await promise;
  });
}
