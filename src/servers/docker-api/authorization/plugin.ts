/**
 * One authorization plugin, as Docker finds it by its name and speaks to it: JSON over HTTP.
 *
 *   /run/docker/plugins/<name>.sock, <name>/<name>.sock     its socket
 *   /etc/docker/plugins, /usr/lib/docker/plugins            <name>.spec: an address; <name>.json: one with TLS
 *
 * Source: Docker's plugin API, "Plugin discovery" and "Access authorization plugin".
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { EngineError, internal, notFound, readAll, sentenceOf } from "#base";
import { parseJson } from "#wire/http";

const ACCEPT = "application/vnd.docker.plugins.v1.2+json";
/** As long as a plugin that cannot be reached is tried again. */
const RETRY_MS = 30_000;
/** A plugin that says nothing for so long has not allowed it. */
const ANSWER_MS = 30_000;
const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024;

/** Where plugins are looked for; tests have folders of their own. */
export interface PluginFolders {
  readonly sockets: string;
  readonly specs: readonly string[];
}

export const PLUGIN_FOLDERS: PluginFolders = {
  sockets: "/run/docker/plugins",
  specs: ["/etc/docker/plugins", "/usr/lib/docker/plugins"],
};

interface Address {
  readonly url: string;
  readonly unix?: string;
  readonly tls?: Bun.TLSOptions;
}

export class Plugin {
  readonly name: string;
  readonly #folders: PluginFolders;
  #address: Address | null = null;

  constructor(name: string, folders: PluginFolders) {
    this.name = name;
    this.#folders = folders;
  }

  /** Finds it and asks what it does, once. @throws EngineError when it is not there, or does something else */
  async activate(retryMs = RETRY_MS): Promise<Address> {
    if (this.#address !== null) return this.#address;
    const address = find(this.name, this.#folders);
    const { Implements: does } = (await post(address, "Plugin.Activate", null, retryMs)) as {
      Implements?: unknown;
    };
    if (!Array.isArray(does) || !does.includes("authz")) {
      throw internal("Plugin does not implement the requested driver");
    }
    return (this.#address = address);
  }

  /** @returns what the plugin answers. @throws EngineError */
  async call(method: string, question: object): Promise<unknown> {
    return await post(await this.activate(), method, question, RETRY_MS);
  }
}

function find(name: string, { sockets, specs }: PluginFolders): Address {
  const places = (folder: string, extension: string) => [
    join(folder, `${name}${extension}`),
    join(folder, name, `${name}${extension}`),
  ];
  // A name is no path: what it would lead to is none of the operator's plugins.
  if (/^[^/\0]+$/.test(name) && name !== "." && name !== "..") {
    for (const path of places(sockets, ".sock")) if (isSocket(path)) return unixAddress(path);
    for (const folder of specs) {
      for (const path of places(folder, ".spec")) {
        const text = readOrNull(path);
        if (text !== null) return addressOf(text.trim(), undefined);
      }
      for (const path of places(folder, ".json")) {
        const text = readOrNull(path);
        if (text !== null) return readDescription(text);
      }
    }
  }
  throw notFound(`could not find plugin ${name} in v1 plugin registry: plugin not found`);
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw cause;
  }
}

const unixAddress = (path: string): Address => ({
  url: "http://plugin.moby.localhost",
  unix: path,
});

function readDescription(text: string): Address {
  const { Addr: address = "", TLSConfig: tls } = (parseJson(text) ?? {}) as {
    Addr?: string;
    TLSConfig?: {
      InsecureSkipVerify?: boolean;
      CAFile?: string;
      CertFile?: string;
      KeyFile?: string;
    };
  };
  if (tls === undefined) return addressOf(address, undefined);
  const file = (path: string | undefined) =>
    path === undefined || path === "" ? undefined : readFileSync(path, "utf8");
  const [ca, cert, key] = [tls.CAFile, tls.CertFile, tls.KeyFile].map(file);
  return addressOf(address, {
    rejectUnauthorized: tls.InsecureSkipVerify !== true,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
}

function addressOf(text: string, tls: Bun.TLSOptions | undefined): Address {
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.+)$/.exec(text) ?? [];
  if (scheme === "unix") return unixAddress(rest);
  if (scheme !== "tcp" && scheme !== "http" && scheme !== "https") {
    throw internal("Unknown protocol");
  }
  if (tls === undefined) return { url: `${scheme === "https" ? "https" : "http"}://${rest}` };
  return { url: `https://${rest}`, tls };
}

/** @throws EngineError "internal" with the plugin's own sentence, where it has one */
async function post(
  { url, unix, tls }: Address,
  method: string,
  question: object | null,
  retryMs: number,
): Promise<unknown> {
  const started = performance.now();
  for (let waitMs = 1000; ; waitMs *= 2) {
    try {
      const answer = await fetch(`${url}/${method}`, {
        method: "POST",
        redirect: "error",
        signal: AbortSignal.timeout(ANSWER_MS),
        headers: { Accept: ACCEPT },
        body: question === null ? "" : JSON.stringify(question),
        ...(unix === undefined ? {} : { unix }),
        ...(tls === undefined ? {} : { tls }),
      });
      return await read(answer, method);
    } catch (cause) {
      if (cause instanceof EngineError) throw cause;
      if (performance.now() - started + waitMs >= retryMs) {
        throw internal(sentenceOf(cause), { cause });
      }
      await Bun.sleep(waitMs);
    }
  }
}

async function read(answer: Response, method: string): Promise<unknown> {
  const bytes = await readAll(answer.body ?? new Blob([]).stream(), {
    limitBytes: ANSWER_LIMIT_BYTES,
    tooLarge: () => internal(`${method}: the answer is too large`),
  });
  const text = new TextDecoder().decode(bytes);
  if (answer.status !== 200) {
    let said = text;
    try {
      const { Err: sentence } = parseJson(text) as { Err?: unknown };
      if (typeof sentence === "string" && sentence !== "") said = sentence;
    } catch {
      // Older ones answer with the sentence itself.
    }
    throw internal(`${method}: ${said.trim()}`);
  }
  const value = parseJson(text);
  if (typeof value === "object" && value !== null) return value;
  throw internal(`${method}: the answer is no object`);
}
