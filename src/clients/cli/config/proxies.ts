/** `proxies` of config.json: for a daemon by its address, or for all. */
import { type ApiClient, endpointText } from "#clients/api-client";

import type { ConfigFile } from "./config-file.ts";

const PROXY_VARIABLES = [
  ["httpProxy", "HTTP_PROXY"],
  ["httpsProxy", "HTTPS_PROXY"],
  ["noProxy", "NO_PROXY"],
  ["ftpProxy", "FTP_PROXY"],
  ["allProxy", "ALL_PROXY"],
] as const;

/** Variables and their values, in both cases: programs look for either. */
export function proxyVariables({ proxies }: ConfigFile, client: ApiClient): [string, string][] {
  const proxy = proxies?.[endpointText(client.endpoint)] ?? proxies?.["default"];
  if (proxy === undefined) return [];
  return PROXY_VARIABLES.flatMap(([key, name]) => {
    const value = proxy[key];
    return value
      ? [name, name.toLowerCase()].map((variable): [string, string] => [variable, value])
      : [];
  });
}
