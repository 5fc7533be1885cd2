/** `X-Registry-Auth`: a client's credentials for one registry, as JSON in base64url. */
import type { RegistryCredentials } from "#engine/image";
import type { AuthConfig } from "#wire/docker";

import { decodeShape, type Shape } from "./shape.ts";

const shape: Shape = {
  struct: "AuthConfig",
  fields: {
    username: "string",
    password: "string",
    auth: "string",
    email: "string",
    serveraddress: "string",
    identitytoken: "string",
    registrytoken: "string",
  },
};

/** undefined for none. As in Docker a header that cannot be read is none too: the registry then says what is missing. */
export function decodeCredentials(header: string): RegistryCredentials | undefined {
  if (header === "") return undefined;
  const credentials = credentialsOf(readHeader(header));
  return Object.keys(credentials).length === 0 ? undefined : credentials;
}

/** The body of `POST /auth`. @throws EngineError "invalid" */
export const decodeAuth = (body: unknown): RegistryCredentials =>
  credentialsOf(decodeShape<AuthConfig>(body, shape));

function credentialsOf(asked: AuthConfig): RegistryCredentials {
  const [username, password] = [asked.username, asked.password].every((text) => text === undefined)
    ? splitAuth(asked.auth ?? "")
    : [asked.username, asked.password];
  return {
    ...given("username", username),
    ...given("password", password),
    ...given("identityToken", asked.identitytoken),
    ...given("registryToken", asked.registrytoken),
    ...given("serverAddress", asked.serveraddress),
  };
}

function readHeader(header: string): AuthConfig {
  try {
    return decodeShape<AuthConfig>(JSON.parse(Buffer.from(header, "base64").toString()), shape);
  } catch {
    return {};
  }
}

/** `auth` is `user:password` in base64, as config.json keeps it. */
function splitAuth(auth: string): [string | undefined, string | undefined] {
  const text = Buffer.from(auth, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? [undefined, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
}

const given = (name: keyof RegistryCredentials, value: string | undefined): RegistryCredentials =>
  value === undefined || value === "" ? {} : { [name]: value };
