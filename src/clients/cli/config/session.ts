/**
 * What one start of the program knows: its global flags, its configuration, and the daemon to talk to.
 * Everything is found when it is first asked for: `naru --help` reads no file, `naru ps` one.
 */
import { invalid, wrap } from "#base";
import {
  ApiClient,
  endpointText,
  parseHost,
  type ClientOptions,
  type Endpoint,
  type TlsMaterial,
} from "#clients/api-client";

import type { Flags } from "../flags/spec.ts";
import { readTextFile, warn } from "../terminal/stdio.ts";
import { readConfigFile, type ConfigFile } from "./config-file.ts";

export const DEFAULT_HOST = "unix:///run/naru/naru.sock";
export const DEFAULT_CONTEXT = "default";

/** Environment variables; a parameter so that tests bring their own. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Which program this is. */
export interface Build {
  readonly version: string;
  readonly commit: string;
  readonly built: string;
}

export class Session {
  readonly build: Build;
  readonly flags: Flags;
  readonly environment: Environment;
  #config: ConfigFile | undefined;
  #client: ApiClient | undefined;

  constructor(flags: Flags, environment: Environment, build: Build) {
    this.build = build;
    this.flags = flags;
    this.environment = environment;
  }

  get configDirectory(): string {
    return (
      this.flags.string("config") ||
      this.environment["DOCKER_CONFIG"] ||
      `${this.environment["HOME"] ?? "/root"}/.docker`
    );
  }

  get config(): ConfigFile {
    return (this.#config ??= readConfigFile(this.configDirectory, (message) => this.warn(message)));
  }

  get debug(): boolean {
    return this.flags.bool("debug");
  }

  /** A message for people that is no error; `--log-level error` silences it. */
  warn(message: string): void {
    const level = this.flags.string("log-level");
    if (level !== "error" && level !== "fatal") warn(message);
  }

  /** The context in use: a flag, then DOCKER_HOST (which is the default one), DOCKER_CONTEXT, the configuration. */
  get contextName(): string {
    const { environment, flags } = this;
    const asked = flags.string("context");
    if (asked !== "" && flags.list("host").length > 0) {
      throw invalid("conflicting options: cannot specify both --host and --context");
    }
    if (asked !== "") return asked;
    if (flags.list("host").length > 0 || environment["DOCKER_HOST"]) return DEFAULT_CONTEXT;
    return environment["DOCKER_CONTEXT"] || this.config.currentContext || DEFAULT_CONTEXT;
  }

  /** The host of the default context, as written. */
  get defaultHost(): string {
    const [host, second] = this.flags.list("host");
    if (second !== undefined) throw invalid("Specify only one -H");
    return host || this.environment["DOCKER_HOST"] || DEFAULT_HOST;
  }

  /** True when nothing points anywhere else: only then may a daemon of our own be started. */
  get usesDefaultSocket(): boolean {
    return this.contextName === DEFAULT_CONTEXT && this.defaultHost === DEFAULT_HOST;
  }

  /** The API client of the daemon in use. */
  async client(): Promise<ApiClient> {
    return (this.#client ??= new ApiClient(await this.#clientOptions()));
  }

  /** `unix:///run/naru/naru.sock`, as messages write it. */
  async hostText(): Promise<string> {
    return endpointText((await this.client()).endpoint);
  }

  async #clientOptions(): Promise<ClientOptions> {
    const pinned = this.environment["DOCKER_API_VERSION"];
    if (pinned && !/^v?\d+\.\d+$/.test(pinned)) {
      throw invalid(`invalid API version (${pinned}): must be formatted <major>.<minor>`);
    }
    return {
      endpoint: await this.#endpoint(),
      ...(pinned ? { apiVersion: pinned.replace(/^v/, "") } : {}),
      headers: { ...this.config.HttpHeaders, ...this.#customHeaders() },
    };
  }

  async #endpoint(): Promise<Endpoint> {
    const name = this.contextName;
    if (name === DEFAULT_CONTEXT) {
      try {
        return parseHost(this.defaultHost, this.#tls());
      } catch (cause) {
        throw wrap("Failed to initialize: unable to resolve docker endpoint", cause);
      }
    }
    const { contextEndpoint } = await import("./context-store.ts");
    return contextEndpoint(this.configDirectory, name);
  }

  #tls(): TlsMaterial | undefined {
    const { environment, flags } = this;
    const verify = flags.changed("tlsverify")
      ? flags.bool("tlsverify")
      : Boolean(environment["DOCKER_TLS_VERIFY"]);
    if (!verify && !flags.bool("tls") && !environment["DOCKER_TLS"]) return undefined;
    const directory = environment["DOCKER_CERT_PATH"] || this.configDirectory;
    const read = (flag: string, name: string) => {
      const path = flags.string(flag) || `${directory}/${name}`;
      const text = readTextFile(path);
      if (text === undefined && flags.changed(flag)) {
        throw invalid(`could not read TLS file ${path}: no such file or directory`);
      }
      return text;
    };
    const ca = read("tlscacert", "ca.pem");
    const cert = read("tlscert", "cert.pem");
    const key = read("tlskey", "key.pem");
    return {
      verify,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    };
  }

  /** DOCKER_CUSTOM_HEADERS: `Name=value,"Other=with, comma"`. */
  #customHeaders(): Record<string, string> {
    const text = this.environment["DOCKER_CUSTOM_HEADERS"];
    if (!text) return {};
    const fields = [...text.matchAll(/"((?:[^"]|"")*)"|([^,]+)/g)];
    return Object.fromEntries(
      fields.map(([, quoted, plain = ""]) => {
        const field = quoted?.replaceAll('""', '"') ?? plain;
        const equals = field.indexOf("=");
        if (equals <= 0) {
          throw invalid(
            `failed to parse custom headers from DOCKER_CUSTOM_HEADERS environment variable: missing "=" in "${field}"`,
          );
        }
        return [field.slice(0, equals).trim(), field.slice(equals + 1)];
      }),
    );
  }
}
