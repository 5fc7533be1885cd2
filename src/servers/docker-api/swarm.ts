/**
 * Swarm, nodes, services, tasks, secrets, configs and plugins, as an engine answers that is in no swarm and has no
 * plugins. Clients tell by status and sentence what they talk to: these are Docker's own.
 */
import { type EngineError, invalid, notFound, notImplemented, unavailable } from "#base";

import type { Call } from "./call.ts";
import type { Handler, Routes } from "./routes.ts";

/** What is asked of a swarm where there is none. */
export const notManager = (): EngineError =>
  unavailable(
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  );
const noSwarm = () => unavailable("This node is not part of a swarm");
const refusedSwarm = () =>
  notImplemented("swarm mode is not supported: this engine runs containers of one machine");
const refusedPlugin = () => notImplemented("managed plugins are not supported by this engine");

/** What is read before it is found that there is no swarm: a broken request is told as such. */
const LISTS = ["nodes", "services", "tasks", "secrets", "configs"] as const;
/** By collection, what Docker calls one of it in the sentence about its version. */
const CHANGEABLE = { nodes: "node", services: "service", secrets: "secret", configs: "config" };

export function swarmRoutes(): Routes {
  return {
    "GET /swarm": refuse(notManager),
    "GET /swarm/unlockkey": refuse(notManager),
    "POST /swarm/init": withBody(refusedSwarm),
    "POST /swarm/join": withBody(refusedSwarm),
    "POST /swarm/leave": refuse(noSwarm),
    "POST /swarm/unlock": withBody(notManager),
    "POST /swarm/update": withVersion("swarm"),
    ...Object.fromEntries(LISTS.flatMap(listRoutes)),
    ...Object.fromEntries(Object.entries(CHANGEABLE).flatMap(changeRoutes)),
  };
}

const refuse =
  (error: () => Error): Handler =>
  () => {
    throw error();
  };

const withBody =
  (error: () => Error): Handler =>
  async (call) => {
    requireObject(await call.requireBody());
    throw error();
  };

const withVersion =
  (what: string): Handler =>
  async (call) => {
    requireObject(await call.requireBody());
    const version = call.query.text("version");
    if (!/^\d{1,19}$/.test(version)) {
      throw invalid(
        `invalid ${what} version '${version}': strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`,
      );
    }
    throw notManager();
  };

function requireObject(body: unknown): void {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return;
  throw invalid("invalid JSON: the body is no object");
}

function listRoutes(things: (typeof LISTS)[number]): [string, Handler][] {
  const list: Handler = (call) => {
    call.query.filters();
    throw notManager();
  };
  const routes: [string, Handler][] = [
    [`GET /${things}`, list],
    [`GET /${things}/:id`, refuse(notManager)],
  ];
  if (things === "services" || things === "tasks") routes.push([`GET /${things}/:id/logs`, logs]);
  return routes;
}

const logs: Handler = ({ query }) => {
  if (!query.bool("stdout") && !query.bool("stderr")) {
    throw invalid("Bad parameters: you must choose at least one stream");
  }
  throw notManager();
};

function changeRoutes([things, one]: [string, string]): [string, Handler][] {
  return [
    ...(things === "nodes" ? [] : [[`POST /${things}/create`, withBody(notManager)] as const]),
    [`DELETE /${things}/:id`, refuse(notManager)],
    [`POST /${things}/:id/update`, withVersion(one)],
  ].map(([route, handler]) => [route, handler] as [string, Handler]);
}

const noPlugin = (call: Call): never => {
  throw notFound(`plugin "${call.param("name")}" not found`);
};

export function pluginRoutes(): Routes {
  return {
    "GET /plugins": (call) => {
      call.query.filters();
      call.json(200, []);
    },
    "GET /plugins/privileges": refuse(refusedPlugin),
    "POST /plugins/pull": refuse(refusedPlugin),
    "POST /plugins/create": refuse(refusedPlugin),
    "GET /plugins/**:name/json": noPlugin,
    "DELETE /plugins/**:name": noPlugin,
    "POST /plugins/**:name/enable": noPlugin,
    "POST /plugins/**:name/disable": noPlugin,
    "POST /plugins/**:name/upgrade": noPlugin,
    "POST /plugins/**:name/push": noPlugin,
    "POST /plugins/**:name/set": noPlugin,
  };
}
