/**
 * `--authorization-plugin`: programs of the operator that are asked about every request before it is handled, and about
 * its answer before it goes out. All must allow it. They see the bytes that the handler reads, whole, or the request
 * fails: Docker leaves large bodies out, and a plugin then allows what it has not seen (CVE-2024-41110, CVE-2026-34040).
 */
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";

import { API_BODY_LIMIT_BYTES, forbidden, sentenceOf, wrap } from "#base";
import { readBody } from "#wire/http";

import { Plugin, PLUGIN_FOLDERS, type PluginFolders } from "./plugin.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** "" for a stream, which has none yet. */
  readonly body: string;
}

/** A request that may be handled. */
export interface Admission {
  /** As it was shown; null where it is the handler's to read: archives, and everything that is no JSON. */
  readonly body: Buffer | null;
  /** @throws EngineError "forbidden" when the answer may not go out */
  release(answer: Answer): Promise<void>;
}

export class Authorizer {
  readonly #names: () => readonly string[];
  readonly #folders: PluginFolders;
  readonly #plugins = new Map<string, Plugin>();

  /** @param names of the plugins, in order; they may change while the engine runs */
  constructor(names: () => readonly string[], folders = PLUGIN_FOLDERS) {
    this.#names = names;
    this.#folders = folders;
  }

  get isNeeded(): boolean {
    return this.#names().length > 0;
  }

  /** Every plugin must be there when the engine starts. @throws EngineError in Docker's words */
  async check(): Promise<void> {
    for (const plugin of this.#all()) {
      try {
        // oxlint-disable-next-line no-await-in-loop
        await plugin.activate(0);
      } catch (cause) {
        throw wrap("Error validating authorization plugin", cause);
      }
    }
  }

  /**
   * @param url as it is routed
   * @throws EngineError "forbidden" in Docker's words, "internal" when a plugin does not answer
   */
  async admit(request: IncomingMessage, url: string): Promise<Admission> {
    const isShown = isJson(request) && !isLogin(url);
    const body = isShown ? await readBody(request, API_BODY_LIMIT_BYTES) : null;
    const question = {
      ...identityOf(request),
      RequestMethod: request.method ?? "",
      RequestUri: url,
      ...(body === null || body.length === 0 ? {} : { RequestBody: body.toString("base64") }),
      RequestHeaders: headersOf(request.rawHeaders),
    };
    await this.#ask("AuthZPlugin.AuthZReq", question);
    return {
      body,
      release: async ({ status, headers, body: text }) => {
        const shown = text !== "" && !isLogin(url);
        await this.#ask("AuthZPlugin.AuthZRes", {
          ...question,
          ResponseStatusCode: status,
          ...(shown ? { ResponseBody: Buffer.from(text).toString("base64") } : {}),
          ResponseHeaders: headers,
        });
      },
    };
  }

  #all(): Plugin[] {
    return this.#names().map((name) => {
      let plugin = this.#plugins.get(name);
      if (plugin === undefined) {
        plugin = new Plugin(name, this.#folders);
        this.#plugins.set(name, plugin);
      }
      return plugin;
    });
  }

  async #ask(method: string, question: object): Promise<void> {
    for (const plugin of this.#all()) {
      let answer: { Allow?: unknown; Msg?: unknown };
      try {
        // Each must have allowed it before the next is asked, as in Docker.
        // oxlint-disable-next-line no-await-in-loop
        answer = (await plugin.call(method, question)) as typeof answer;
      } catch (cause) {
        throw new Error(`plugin ${plugin.name} failed with error: ${sentenceOf(cause)}`, { cause });
      }
      if (answer.Allow === true) continue;
      const why = typeof answer.Msg === "string" ? answer.Msg : "";
      throw forbidden(`authorization denied by plugin ${plugin.name}: ${why}`);
    }
  }
}

/** Credentials are nobody's business. */
const isLogin = (url: string): boolean => /^[^/]*\/(?:v\d[\d.]*\/)?auth/.test(url);

function isJson({ headers }: IncomingMessage): boolean {
  const [type = ""] = (headers["content-type"] ?? "").split(";", 1);
  return type.trim().toLowerCase() === "application/json";
}

const HIDDEN = new Set(["authorization", "x-registry-config", "x-registry-auth", "host"]);

/** By Go's spelling; of several with one name the last. */
function headersOf(raw: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = "", value = ""] = raw.slice(at, at + 2);
    if (HIDDEN.has(name.toLowerCase())) continue;
    headers[canonical(name)] = value;
  }
  return headers;
}

const canonical = (name: string): string =>
  name.toLowerCase().replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());

/** Who showed a certificate. */
function identityOf({ socket }: IncomingMessage): Record<string, unknown> {
  const peer = (socket as Partial<TLSSocket>).getPeerCertificate?.();
  if (peer?.raw === undefined) return {};
  const lines = peer.raw.toString("base64").match(/.{1,64}/g) ?? [];
  const pem = `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
  const { CN: user } = peer.subject;
  return {
    User: Array.isArray(user) ? (user[0] ?? "") : (user ?? ""),
    UserAuthNMethod: "TLS",
    RequestPeerCertificates: [Buffer.from(pem).toString("base64")],
  };
}
