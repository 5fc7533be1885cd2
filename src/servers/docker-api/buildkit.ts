/** Connections that a client with BuildKit takes over: its calls to the engine, and the engine's calls to it. */
import { Socket } from "node:net";

import { invalid } from "#base";
import { upgradeOf } from "#wire/http";

import type { Call } from "./call.ts";
import type { BuildOptions } from "./decode/build.ts";
import type { Routes } from "./routes.ts";

/** What a session says of itself. */
interface SessionHead {
  readonly id: string;
  readonly sharedKey: string;
  readonly methods: readonly string[];
}

/** What of BuildKit's side the API hands connections to. */
export interface BuildKit {
  serve(socket: Socket): void;
  checkSession(head: SessionHead): void;
  openSession(socket: Socket, head: SessionHead): void;
  /** @returns what the exporters say, by BuildKit's names */
  build(build: {
    readonly options: BuildOptions;
    readonly session: string;
    readonly archive: ReadableStream<Uint8Array> | null;
    readonly outputs: readonly { type: string; attributes: Readonly<Record<string, string>> }[];
    readonly signal: AbortSignal;
    readonly onTrace: (trace: Uint8Array) => Promise<void>;
  }): Promise<Readonly<Record<string, string>>>;
  /** An error of it in BuildKit's words. */
  sayFailure(error: unknown): string;
}

/** Opened when somebody asks for it: most engines live without. */
export type OpenBuildKit = () => Promise<BuildKit>;

export function buildKitRoutes(open: OpenBuildKit): Routes {
  return {
    "POST /grpc": async (call) => {
      requireHttp2(call);
      const buildKit = await open();
      buildKit.serve(taken(call));
    },
    "POST /session": async (call) => {
      requireHttp2(call);
      const head = {
        id: call.header("x-docker-expose-session-uuid"),
        sharedKey: call.header("x-docker-expose-session-sharedkey"),
        methods: call
          .header("x-docker-expose-session-grpc-method")
          .split(",")
          .map((method) => method.trim()),
      };
      const buildKit = await open();
      buildKit.checkSession(head);
      buildKit.openSession(taken(call), head);
    },
  };
}

function requireHttp2(call: Call): void {
  const protocol = call.upgraded ? upgradeOf(call.request) : null;
  if (protocol === null) throw invalid("no upgrade proto in request");
  if (protocol !== "h2c") throw invalid(`protocol ${protocol} not supported`);
}

function taken(call: Call): Socket {
  const { sink } = call.hijack({ contentType: "application/grpc", protocol: "h2c" });
  if (!(sink instanceof Socket)) throw invalid("no connection to take over");
  return sink;
}
