/**
 * Shells in steps of builds that have failed (`naru build --on-fail shell`): the build tells its client of one on its
 * own stream, the client takes it by a hijacked connection, or leaves it alone. Naru's own.
 */
import { conflict, newId, notFound, sentenceOf } from "#base";
import type { FailedRun, OnFailedRun } from "#engine/build";
import { RAW_STREAM } from "#wire/docker";

import type { Call } from "./call.ts";
import { sizeOf } from "./containers.ts";
import { endGently, joinStreams } from "./join.ts";
import type { Routes } from "./routes.ts";

interface Offered {
  readonly run: FailedRun;
  readonly left: () => void;
  isTaken: boolean;
}

export class BuildShells {
  readonly #offered = new Map<string, Offered>();

  /** @param tell sends the name of the shell, and the failure's sentence, to the build's client */
  offer(tell: (shell: { id: string; error: string }) => Promise<void>): OnFailedRun {
    return async (run, signal) => {
      const id = newId();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#offered.set(id, { run, left: resolve, isTaken: false });
      signal.addEventListener("abort", () => resolve(), { once: true });
      try {
        if (signal.aborted) return;
        await tell({ id, error: run.sentence });
        await promise;
      } finally {
        this.#offered.delete(id);
      }
    };
  }

  routes(): Routes {
    return {
      "POST /build/shell/:id": (call) => this.#enter(call),
      "POST /build/shell/:id/resize": async (call) => {
        await this.#find(call).run.resize(sizeOf(call));
        call.empty(200);
      },
      "DELETE /build/shell/:id": (call) => {
        this.#find(call).left();
        call.empty(204);
      },
    };
  }

  #find(call: Call): Offered {
    const offered = this.#offered.get(call.param("id"));
    if (offered === undefined) throw notFound("no build has failed here");
    return offered;
  }

  /** The visit ends with the shell, and when its client goes away. */
  async #enter(call: Call): Promise<void> {
    const offered = this.#find(call);
    if (offered.isTaken) throw conflict("somebody is there already");
    const size = sizeOf(call);
    offered.isTaken = true;
    try {
      const streams = await offered.run.enter(size).catch((cause: unknown) => {
        if (!call.upgraded) throw cause;
        const { sink, source } = call.hijack({ contentType: RAW_STREAM });
        sink.write(`${sentenceOf(cause)}\r\n`);
        source.resume();
        endGently(sink);
        return null;
      });
      if (streams !== null) await joinStreams(call.hijack({ contentType: RAW_STREAM }), streams);
    } finally {
      offered.left();
    }
  }
}
