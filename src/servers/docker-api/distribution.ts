/** `GET /distribution/{name}/json`: what a registry has under a name. */
import type { RemoteImage, RemoteImageRequest } from "#engine/image";
import { parseReference } from "#oci";

import { decodeCredentials } from "./decode/registry-auth.ts";
import type { Routes } from "./routes.ts";

export type InspectRemote = (request: RemoteImageRequest) => Promise<RemoteImage>;

export function distributionRoutes(inspect: InspectRemote): Routes {
  return {
    "GET /distribution/**:name/json": async (call) => {
      const reference = call.param("name");
      parseReference(reference);
      const credentials = decodeCredentials(call.header("x-registry-auth"));
      const { descriptor, platforms } = await inspect({
        reference,
        ...(credentials === undefined ? {} : { credentials }),
        signal: call.signal,
      });
      call.json(200, {
        Descriptor: { ...descriptor },
        Platforms: platforms.map(({ os, architecture, variant }) => ({
          architecture,
          os,
          ...(variant === undefined ? {} : { variant }),
        })),
      });
    },
  };
}
