/** The engine itself: ping, version, info. */
import type { SystemService } from "#engine/system";

import type { Call } from "./call.ts";
import { encodeInfo, encodeVersion, infoFor } from "./encode/system.ts";
import type { Listeners } from "./events.ts";
import type { Routes } from "./routes.ts";

/** 2 is BuildKit: what Docker's engine says too. Clients without it build with the classic request all the same. */
const PING_HEADERS = {
  "Builder-Version": "2",
  Swarm: "inactive",
  "Cache-Control": "no-cache, no-store, must-revalidate",
  Pragma: "no-cache",
};

const ping = (call: Call): void => call.text("OK", PING_HEADERS);

export function systemRoutes(system: SystemService, listeners: Listeners): Routes {
  return {
    "GET /_ping": ping,
    "HEAD /_ping": ping,
    "GET /version": (call) => call.json(200, encodeVersion(system.version())),
    "GET /info": async (call) => {
      const info = await system.info();
      const { version, isExperimental } = system.version();
      const listening = listeners.count;
      const context = { version, isExperimental, listeners: listening };
      call.json(200, infoFor(call.version, encodeInfo(info, context)));
    },
  };
}
