/** Which handler answers which method and path. */
import { addRoute, createRouter, findRoute } from "rou3";

import type { Call } from "./call.ts";

export type Handler = (call: Call) => Promise<void> | void;

/** `GET /containers/:id/json`; `**:name` takes an image's name with its slashes. */
export type Routes = Readonly<Record<string, Handler>>;

export type FindRoute = (
  method: string,
  path: string,
) => { handler: Handler; params: Readonly<Record<string, string>> } | null;

const NO_PARAMS = {};
/** Links call a container `web/db`, and clients write it as it is. */
const LINKED = /^(\/containers\/[^/]+)\/(?=.)/;

/** @throws when a route is no `METHOD /path` */
export function compileRoutes(...tables: readonly Routes[]): FindRoute {
  const router = createRouter<Handler>();
  for (const [route, handler] of tables.flatMap((table) => Object.entries(table))) {
    const [method, path] = route.split(" ");
    if (method === undefined || path === undefined) throw new Error(`no route: ${route}`);
    addRoute(router, method, path, handler);
  }
  return (method, path) => {
    const found =
      findRoute(router, method, path) ?? findRoute(router, method, path.replace(LINKED, "$1%2F"));
    return found === undefined ? null : { handler: found.data, params: found.params ?? NO_PARAMS };
  };
}
