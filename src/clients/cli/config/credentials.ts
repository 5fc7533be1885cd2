/**
 * Credentials for registries: a helper for the registry, else the general helper, else `auths` in config.json.
 * Helper protocol: `docker-credential-X get|store|erase|list`, the registry or a JSON document on standard input.
 */
import { EngineError, sentenceOf } from "#base";
import type { AuthConfig } from "#wire/docker";

import type { ConfigFile } from "./config-file.ts";
import { updateConfigFile } from "./config-file.ts";

const NOT_FOUND = "credentials not found in native keychain";
/** A helper stores a token rather than a password under this name. */
const TOKEN_USER = "<token>";
const HELPER_TIMEOUT_MS = 60_000;

/** The helper for a registry, undefined where config.json itself is the store. */
export const helperFor = (config: ConfigFile, registry: string): string | undefined =>
  config.credHelpers?.[registry] ?? (config.credsStore || undefined);

/** What is known for a registry; undefined when nobody logged in. */
export async function credentialsFor(
  config: ConfigFile,
  registry: string,
): Promise<AuthConfig | undefined> {
  const helper = helperFor(config, registry);
  if (helper !== undefined) return fromHelper(helper, registry);
  const stored = config.auths?.[registry] ?? byHostname(config, registry);
  if (stored === undefined) return undefined;
  const { username, password } = decodeAuth(stored.auth ?? "");
  return {
    ...(username === "" ? {} : { username, password }),
    serveraddress: registry,
    ...(stored.identitytoken ? { identitytoken: stored.identitytoken } : {}),
    ...(stored.registrytoken ? { registrytoken: stored.registrytoken } : {}),
  };
}

/** Every registry's, in the words of config.json's `auths`. */
export async function allCredentials(config: ConfigFile): Promise<Record<string, object>> {
  const registries = new Set([
    ...Object.keys(config.auths ?? {}),
    ...Object.keys(config.credHelpers ?? {}),
    ...(config.credsStore ? await listHelper(config.credsStore) : []),
  ]);
  const auths: Record<string, object> = {};
  for (const registry of registries) {
    const known = await credentialsFor(config, registry);
    if (known === undefined) continue;
    const { username = "", password = "", identitytoken } = known;
    auths[registry] = {
      auth: Buffer.from(`${username}:${password}`).toString("base64"),
      ...(identitytoken ? { identitytoken } : {}),
    };
  }
  return auths;
}

/** The registries that a helper knows. */
async function listHelper(helper: string): Promise<string[]> {
  const { code, output } = await runHelper(helper, "list", "");
  if (code === 0) return Object.keys(JSON.parse(output) as Record<string, string>);
  throw new EngineError(
    "internal",
    `error listing credentials - err: exit status ${code}, out: \`${output.trim()}\``,
  );
}

/** Old files have whole URLs as keys: `https://registry.example/v1/`. */
function byHostname(config: ConfigFile, registry: string) {
  const hostname = (text: string) => text.replace(/^https?:\/\//, "").split("/", 1)[0];
  const found = Object.entries(config.auths ?? {}).find(([key]) => hostname(key) === registry);
  return found?.[1];
}

export function decodeAuth(auth: string): { username: string; password: string } {
  const text = Buffer.from(auth, "base64").toString();
  const colon = text.indexOf(":");
  if (colon < 0) return { username: "", password: "" };
  return {
    username: text.slice(0, colon),
    password: text.slice(colon + 1).replace(/\0+$/, ""),
  };
}

async function fromHelper(helper: string, registry: string): Promise<AuthConfig | undefined> {
  const { code, output } = await runHelper(helper, "get", registry);
  if (code !== 0) {
    if (output.trim() === NOT_FOUND) return undefined;
    throw new EngineError(
      "unauthorized",
      `error getting credentials - err: exit status ${code}, out: \`${output.trim()}\``,
    );
  }
  const found = parseHelper(output);
  if (found.Username === TOKEN_USER) {
    return { identitytoken: found.Secret, serveraddress: registry };
  }
  return { username: found.Username, password: found.Secret, serveraddress: registry };
}

function parseHelper(output: string): { Username: string; Secret: string } {
  try {
    const { Username = "", Secret = "" } = JSON.parse(output) as Partial<Record<string, string>>;
    return { Username, Secret };
  } catch (cause) {
    throw new EngineError("internal", `error getting credentials: ${sentenceOf(cause)}`, { cause });
  }
}

async function runHelper(
  helper: string,
  action: "get" | "store" | "erase" | "list",
  input: string,
): Promise<{ code: number; output: string }> {
  const program = `docker-credential-${helper}`;
  let child;
  try {
    child = Bun.spawn([program, action], {
      stdin: new Blob([input]),
      stdout: "pipe",
      stderr: "inherit",
      timeout: HELPER_TIMEOUT_MS,
    });
  } catch (cause) {
    throw new EngineError(
      "internal",
      `error getting credentials - err: exec: "${program}": executable file not found in $PATH, out: \`\``,
      { cause },
    );
  }
  const output = await new Response(child.stdout).text();
  return { code: await child.exited, output };
}

/** Keeps credentials: with the helper, else in config.json (base64, which hides nothing). */
export async function storeCredentials(
  directory: string,
  config: ConfigFile,
  registry: string,
  auth: AuthConfig,
): Promise<{ plain: boolean }> {
  const helper = helperFor(config, registry);
  const { username = "", password = "", identitytoken } = auth;
  if (helper !== undefined) {
    const secret = identitytoken
      ? { ServerURL: registry, Username: TOKEN_USER, Secret: identitytoken }
      : { ServerURL: registry, Username: username, Secret: password };
    const { code, output } = await runHelper(helper, "store", JSON.stringify(secret));
    if (code !== 0) {
      throw new EngineError(
        "internal",
        `error storing credentials - err: exit status ${code}, out: \`${output.trim()}\``,
      );
    }
  }
  await updateConfigFile(directory, (file) => {
    const auths = { ...(file["auths"] as Record<string, unknown> | undefined) };
    auths[registry] =
      helper === undefined
        ? {
            auth: Buffer.from(`${username}:${identitytoken ? "" : password}`).toString("base64"),
            ...(identitytoken ? { identitytoken } : {}),
          }
        : {};
    file["auths"] = auths;
  });
  return { plain: helper === undefined };
}

/** Forgets credentials. @returns false when there were none */
export async function eraseCredentials(
  directory: string,
  config: ConfigFile,
  registry: string,
): Promise<boolean> {
  const helper = helperFor(config, registry);
  if (helper !== undefined) await runHelper(helper, "erase", registry);
  const known = registry in (config.auths ?? {});
  if (known) {
    await updateConfigFile(directory, (file) => {
      const auths = { ...(file["auths"] as Record<string, unknown> | undefined) };
      delete auths[registry];
      file["auths"] = auths;
    });
  }
  return known || helper !== undefined;
}
