/**
 * BuildKit's side of an engine: the gRPC that buildx speaks on `POST /grpc`, and the sessions of `POST /session` over
 * which the engine asks the client for files, secrets and agents. Decides nothing about builds: it decodes, calls
 * the solver, and tells what happens in buildx's own terms.
 */
import type { Socket } from "node:net";

import { GrpcRouter, serveGrpc } from "#wire/grpc";

import { addBridge } from "./bridge.ts";
import type { BuildServices } from "./builds.ts";
import { buildClassic, type ClassicBuild } from "./classic.ts";
import { addControl } from "./control.ts";
import { describedFailure, failureFrom } from "./failures.ts";
import { BuildHistory, type HistoryLimits } from "./history.ts";
import { addHistoryContent } from "./history-content.ts";
import { Jobs } from "./jobs.ts";
import { addSessions, type SessionHead, Sessions } from "./sessions.ts";

export type { HistoryLimits } from "./history.ts";

export interface BuildApiServices extends BuildServices {
  /** What `host-gateway` of `--add-host` stands for. */
  readonly hostGateway: () => string | null;
  /** As BuildKit, where the operator says nothing. */
  readonly historyLimits?: HistoryLimits | undefined;
}

export interface BuildApi {
  /** Serves a connection that is ours now. */
  serve(socket: Socket): void;
  /** @throws EngineError before the connection is taken over */
  checkSession(head: SessionHead): void;
  openSession(socket: Socket, head: SessionHead): void;
  /** @throws what `sayFailure` has words for. @returns what the exporters say, by BuildKit's names */
  build(build: ClassicBuild): Promise<Readonly<Record<string, string>>>;
  sayFailure(error: unknown): string;
}

export function openBuildApi(services: BuildApiServices): BuildApi {
  const sessions = new Sessions();
  const bridge = {
    ...services,
    sessions,
    jobs: new Jobs(),
    history: new BuildHistory(services.builds.history, services.historyLimits),
  };
  const router = new GrpcRouter();
  addControl(router, bridge);
  addBridge(router, bridge);
  addSessions(router, sessions);
  addHistoryContent(router, bridge.history);
  return {
    serve: (socket) => serveGrpc(socket, router, (error) => failureFrom(error, null)),
    checkSession: (head) => sessions.check(head),
    openSession: (socket, head) => void sessions.open(socket, head),
    build: (build) => buildClassic(bridge, build),
    sayFailure: describedFailure,
  };
}
