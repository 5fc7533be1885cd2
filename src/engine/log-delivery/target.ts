/** What becomes of a container's output: the options of its record, made into what the supervisor works with. */
import { hostname } from "node:os";

import { internal, sentenceOf } from "#base";
import { compileTemplate, Row } from "#go-template";
import type { LogFileOptions } from "#engine/logs";

import { gelfAddress, type ServerAddress, syslogAddress } from "./address.ts";
import {
  cacheOptions,
  checkExpression,
  facilityOf,
  fluentdSettings,
  parseLogDriver,
  rotationOf,
  type SyslogFormat,
  syslogFormatOf,
} from "./options.ts";
import { type LogOptions, parseBool, parseSize } from "./values.ts";

/** What a log driver may know of its container. */
export interface LogInfo {
  readonly id: string;
  readonly name: string;
  readonly imageId: string;
  readonly imageName: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `NAME=value`. */
  readonly environment: readonly string[];
  /** The file of the json-file driver. */
  readonly jsonPath: string;
  /** The file of the local driver. */
  readonly localPath: string;
  /** A folder that outlives the container until everything is delivered. */
  readonly spoolFolder: string;
}

/** What the server gets and how; as JSON, since it travels and is written down. */
export type LogServer =
  | {
      readonly driver: "syslog";
      /** null: the host's own. */
      readonly address: ServerAddress | null;
      readonly facility: number;
      readonly format: SyslogFormat;
      readonly tag: string;
      readonly tls: TlsFiles;
    }
  | ({
      readonly driver: "fluentd";
      readonly tag: string;
      readonly record: Readonly<Record<string, string>>;
    } & ReturnType<typeof fluentdSettings>)
  | {
      readonly driver: "gelf";
      readonly address: ServerAddress & { readonly type: "udp" | "tcp" };
      readonly compression: "gzip" | "zlib" | "none";
      readonly level: number;
      readonly maxReconnect: number;
      readonly reconnectDelayMs: number;
      readonly record: Readonly<Record<string, string>>;
    }
  | { readonly driver: "journald"; readonly fields: Readonly<Record<string, string>> };

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly skipVerify: boolean;
}

export interface Delivery {
  readonly server: LogServer;
  /** The container waits for a slow server. */
  readonly isBlocking: boolean;
  /** How far delivery may lag behind, in bytes, where the container does not wait. */
  readonly bufferBytes: number;
}

/** Where the output of a container goes. */
export type LogTarget =
  | { readonly driver: "none" }
  | ({ readonly driver: "json-file" | "local" } & LogFileOptions)
  | {
      readonly driver: "remote";
      /** `<data-root>/log-spool/<id>`. */
      readonly folder: string;
      /** Kept for `docker logs`, and until it is delivered. */
      readonly file: LogFileOptions;
      readonly delivery: Delivery;
    };

const DEFAULT_BUFFER_BYTES = 1_000_000;
/** Where `docker logs` is not wanted, what is delivered need not stay. */
const UNREADABLE_SPOOL = { maxSizeBytes: 4 * 1024 * 1024, maxFiles: 2, compress: false };
const DEFAULT_TAG = "{{.ID}}";

/** The file of a spool's entries. */
export const spoolPath = (folder: string): string => `${folder}/container-cached.log`;

/** Whether `docker logs` can read what this container printed. */
export const isReadable = ({ driver, options }: LogConfig): boolean =>
  driver === "json-file" ||
  driver === "local" ||
  (driver !== "none" && !parseBool(options["cache-disabled"] || "false"));

interface LogConfig {
  readonly driver: string;
  readonly options: LogOptions;
}

/** @throws EngineError "internal" in Docker's words: a tag or an expression that cannot be made */
export function logTargetOf(log: LogConfig, info: LogInfo): LogTarget {
  try {
    return targetOf(log, info);
  } catch (cause) {
    throw internal(failedStart(sentenceOf(cause)), { cause });
  }
}

/** Docker's sentence of a start whose log driver cannot be had. */
export const failedStart = (why: string): string =>
  `failed to create task for container: failed to initialize logging driver: ${why}`;

function targetOf({ driver: name, options }: LogConfig, info: LogInfo): LogTarget {
  const driver = parseLogDriver(name);
  if (driver === "none") return { driver };
  if (driver === "json-file" || driver === "local") {
    const attributes = attributesOf(options, info);
    // Only where one was asked for.
    const tag = options["tag"] ?? "";
    if (tag !== "") attributes["tag"] = tagOf(tag, options, info);
    const isLocal = driver === "local";
    return {
      driver,
      path: isLocal ? info.localPath : info.jsonPath,
      ...(isLocal ? { format: "raw" as const } : {}),
      ...rotationOf(driver, options),
      attributes,
    };
  }
  const isNonBlocking = options["mode"] === "non-blocking";
  const server = serverOf(driver, options, info);
  return {
    driver: "remote",
    folder: info.spoolFolder,
    file: {
      path: spoolPath(info.spoolFolder),
      format: "raw",
      ...(isReadable({ driver, options })
        ? rotationOf("local", cacheOptions(options))
        : UNREADABLE_SPOOL),
      attributes: attributesOf(options, info),
    },
    delivery: {
      server,
      isBlocking: !isNonBlocking && !(server.driver === "fluentd" && server.isAsync),
      bufferBytes: parseSize(options["max-buffer-size"] ?? String(DEFAULT_BUFFER_BYTES), 1024),
    },
  };
}

function serverOf(driver: LogServer["driver"], options: LogOptions, info: LogInfo): LogServer {
  const tag = tagOf(options["tag"] || DEFAULT_TAG, options, info);
  const attributes = attributesOf(options, info);
  switch (driver) {
    case "syslog":
      return {
        driver,
        address: syslogAddress(options["syslog-address"] ?? ""),
        facility: facilityOf(options["syslog-facility"] ?? ""),
        format: syslogFormatOf(options["syslog-format"] ?? ""),
        tag,
        tls: {
          ca: options["syslog-tls-ca-cert"] ?? "",
          cert: options["syslog-tls-cert"] ?? "",
          key: options["syslog-tls-key"] ?? "",
          // As Docker: being there is enough.
          skipVerify: options["syslog-tls-skip-verify"] !== undefined,
        },
      };
    case "fluentd":
      return {
        driver,
        tag,
        record: { container_id: info.id, container_name: `/${info.name}`, ...attributes },
        ...fluentdSettings(options),
      };
    case "gelf":
      return gelfServer(options, info, tag);
    case "journald":
      return {
        driver,
        fields: {
          CONTAINER_ID: info.id.slice(0, 12),
          CONTAINER_ID_FULL: info.id,
          CONTAINER_NAME: info.name,
          CONTAINER_TAG: tag,
          IMAGE_NAME: info.imageName,
          SYSLOG_IDENTIFIER: tag,
          ...renamed(attributes, journalFieldOf),
        },
      };
  }
}

function gelfServer(options: LogOptions, info: LogInfo, tag: string): LogServer {
  const compression = options["gelf-compression-type"] ?? "gzip";
  return {
    driver: "gelf",
    address: gelfAddress(options["gelf-address"] ?? ""),
    compression: compression === "none" || compression === "zlib" ? compression : "gzip",
    level: Number(options["gelf-compression-level"] ?? "1"),
    maxReconnect: Number(options["gelf-tcp-max-reconnect"] ?? "3"),
    reconnectDelayMs: Number(options["gelf-tcp-reconnect-delay"] ?? "1") * 1000,
    record: {
      _container_id: info.id,
      _container_name: info.name,
      _image_id: info.imageId,
      _image_name: info.imageName,
      _command: commandOf(info),
      _tag: tag,
      _created: info.createdAt,
      ...renamed(attributesOf(options, info), (name) => (name.startsWith("_") ? name : `_${name}`)),
    },
  };
}

const renamed = (
  attributes: Readonly<Record<string, string>>,
  rename: (name: string) => string,
): Record<string, string> =>
  Object.fromEntries(Object.entries(attributes).map(([name, value]) => [rename(name), value]));

/** journald's fields are capitals, digits and underscores, and do not begin with one. */
const journalFieldOf = (name: string): string =>
  name
    .replaceAll(/[a-z]/g, (letter) => letter.toUpperCase())
    .replaceAll(/[^A-Z0-9]/gu, "_")
    .replace(/^_+/, "");

const commandOf = ({ path, args }: LogInfo): string => [path, ...args].join(" ");

const namesOf = (list: string | undefined): string[] => (list ?? "").split(",");

/** The labels and variables that were asked for, by name or by pattern. */
function attributesOf(options: LogOptions, info: LogInfo): Record<string, string> {
  const environment = new Map(
    info.environment.flatMap((entry) => {
      const at = entry.indexOf("=");
      return at < 0 ? [] : [[entry.slice(0, at), entry.slice(at + 1)]];
    }),
  );
  const found: Record<string, string> = {};
  const pick = (values: ReadonlyMap<string, string>, what: "labels" | "env") => {
    for (const name of namesOf(options[what])) {
      const value = values.get(name);
      if (value !== undefined) found[name] = value;
    }
    const pattern = checkExpression(options[`${what}-regex`]);
    for (const [name, value] of pattern === null ? [] : values) {
      if (pattern?.test(name) === true) found[name] = value;
    }
  };
  pick(new Map(Object.entries(info.labels)), "labels");
  pick(environment, "env");
  return found;
}

/** @throws TemplateError */
function tagOf(template: string, options: LogOptions, info: LogInfo): string {
  const { id, imageId } = info;
  return compileTemplate(template, "log-tag").execute(
    new Row("*logger.Info", {
      ID: id.slice(0, 12),
      FullID: id,
      Name: info.name,
      ImageID: imageId.slice(0, 12),
      ImageFullID: imageId,
      ImageName: info.imageName,
      // Docker's own: what reads the logs looks for it.
      DaemonName: "docker",
      Command: commandOf(info),
      Hostname: hostname(),
      Config: options,
      ContainerID: id,
      ContainerName: `/${info.name}`,
      ContainerEntrypoint: info.path,
      ContainerArgs: info.args,
      ContainerImageID: imageId,
      ContainerImageName: info.imageName,
      ContainerCreated: info.createdAt,
      ContainerEnv: info.environment,
      ContainerLabels: info.labels,
      LogPath: info.jsonPath,
    }),
  );
}
