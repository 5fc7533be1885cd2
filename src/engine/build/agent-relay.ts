/**
 * A step's own socket to an ssh agent: with the owner and mode that its mount asks for, and gone with the step. The
 * agent sees the engine, so that a step's user need not be the agent's.
 */
import { chmodSync, chownSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";

/** A step asks its agent now and then; more at once is no use of one. */
const CONNECTION_LIMIT = 32;

export interface RelayRequest {
  /** Where the step's socket is made. */
  readonly path: string;
  /** The agent's. */
  readonly agent: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** @returns the way to end it, with what goes through it */
export async function relayAgent(request: RelayRequest): Promise<() => void> {
  const { path, agent, uid, gid, mode } = request;
  const connections = new Set<Socket>();
  const keep = (socket: Socket) => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
  };
  const server = createServer((step) => {
    if (connections.size >= CONNECTION_LIMIT * 2) return void step.destroy();
    const upstream = connect(agent);
    keep(step);
    keep(upstream);
    // One that breaks off takes the other with it.
    step.once("error", () => upstream.destroy());
    upstream.once("error", () => step.destroy());
    step.once("close", () => upstream.destroy());
    upstream.once("close", () => step.end());
    step.pipe(upstream);
    upstream.pipe(step);
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(path, resolve);
  await promise;
  chownSync(path, uid, gid);
  chmodSync(path, mode);
  return () => {
    server.close();
    for (const connection of connections) connection.destroy();
  };
}
