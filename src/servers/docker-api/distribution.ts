/** `GET /distribution/{name}/json`: what a registry has under a name. */
import { invalid } from "#base";
import type { RemoteImage, RemoteImageRequest } from "#engine/image";
import { parseAnyReference, type Platform } from "#oci";

import { decodeCredentials } from "./decode/registry-auth.ts";
import type { Routes } from "./routes.ts";

export type InspectRemote = (request: RemoteImageRequest) => Promise<RemoteImage>;

export function distributionRoutes(inspect: InspectRemote): Routes {
  return {
    "GET /distribution/**:name/json": async (call) => {
      const reference = call.param("name");
      if ("id" in parseAnyReference(reference)) {
        throw invalid("no manifest found for full image ID");
      }
      const credentials = decodeCredentials(call.header("x-registry-auth"));
      const { descriptor, platforms } = await inspect({
        reference,
        ...(credentials === undefined ? {} : { credentials }),
        signal: call.signal,
      });
      call.json(200, {
        Descriptor: { ...descriptor },
        Platforms: platforms.map(encodePlatform),
      });
    },
  };
}

const encodePlatform = (platform: Platform) => {
  const { os, architecture, variant, "os.version": version } = platform;
  return {
    architecture,
    os,
    ...(version === undefined ? {} : { "os.version": version }),
    ...(variant === undefined ? {} : { variant }),
  };
};
