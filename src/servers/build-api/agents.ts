/** SSH agents of a client as sockets on this host, for the steps of one build. */
import { mkdirSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";

import { newId } from "#base";
import { bytesMessage, BytesMessageSchema, fromBinary } from "#wire/grpc";

import type { Session } from "./session.ts";

/** A step asks its agent now and then; more at once is no use of one. */
const CONNECTION_LIMIT = 32;

/** Makes a socket when an agent is first asked for. Disposing cuts them all. */
export class AgentSockets implements Disposable {
  readonly #session: Session;
  /** The engine's alone: steps get sockets of their own, which lead here. */
  readonly #folder: string;
  readonly #made = new Map<string, Promise<string | undefined>>();
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Socket>();
  readonly #abort = new AbortController();

  /** @param folder that start-up clears */
  constructor(session: Session, folder: string) {
    this.#session = session;
    this.#folder = join(folder, `agents-${newId()}`);
  }

  /** @returns the socket's path; undefined when the client forwards none under this id */
  get(id: string): Promise<string | undefined> {
    let made = this.#made.get(id);
    if (made === undefined) {
      made = this.#make(id);
      this.#made.set(id, made);
    }
    return made;
  }

  [Symbol.dispose](): void {
    this.#abort.abort(new Error("the build has ended"));
    for (const server of this.#servers) server.close();
    for (const connection of this.#connections) connection.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #make(id: string): Promise<string | undefined> {
    if (!(await this.#session.hasAgent(id, this.#abort.signal))) return undefined;
    this.#abort.signal.throwIfAborted();
    const path = join(this.#folder, newId(), "agent");
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      if (this.#connections.size >= CONNECTION_LIMIT) return void socket.destroy();
      this.#connections.add(socket);
      socket.once("close", () => this.#connections.delete(socket));
      socket.on("error", () => socket.destroy());
      this.#forward(socket, id).catch(() => socket.destroy());
    });
    this.#servers.push(server);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(path, resolve);
    await promise;
    return path;
  }

  async #forward(socket: Socket, id: string): Promise<void> {
    using stream = this.#session.openAgent(id, this.#abort.signal);
    const sending = (async () => {
      // Its end is that of one half: the answer comes on the other.
      const chunks = socket.iterator({ destroyOnReturn: false });
      for await (const chunk of chunks) await stream.send(bytesMessage(chunk as Uint8Array));
      stream.end();
    })();
    sending.catch(() => socket.destroy());
    for await (const messages of stream.messages()) {
      for (const bytes of messages) {
        const { data } = fromBinary(BytesMessageSchema, bytes);
        if (!socket.write(data)) await drained(socket);
      }
    }
    socket.end();
    await sending;
  }
}

const drained = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.once("drain", resolve);
    socket.once("close", () => resolve());
  });
