/** `docker login`: the credentials of a person, checked with their registry; they are kept by the client. */
import type { RegistryCredentials } from "#engine/image";

import { decodeAuth } from "./decode/registry-auth.ts";
import type { Routes } from "./routes.ts";

/**
 * Resolves when the registry takes the credentials, with what a client keeps instead of the password, or "".
 * @throws EngineError "unauthorized" when it does not
 */
export type Login = (request: {
  /** "" is Docker Hub. */
  serverAddress: string;
  credentials: RegistryCredentials;
  signal: AbortSignal;
}) => Promise<{ readonly identityToken: string }>;

export function authRoutes(login: Login): Routes {
  return {
    "POST /auth": async (call) => {
      const credentials = decodeAuth(await call.requireBody());
      const { serverAddress = "" } = credentials;
      const { identityToken } = await login({ serverAddress, credentials, signal: call.signal });
      call.json(200, { IdentityToken: identityToken, Status: "Login Succeeded" });
    },
  };
}
