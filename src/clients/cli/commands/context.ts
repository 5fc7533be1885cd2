/** `naru context …`: where daemons are, under names, in docker's own files. */
import { readFileSync } from "node:fs";

import { conflict, invalid, notFound, sentenceOf } from "#base";
import { parseHost } from "#clients/api-client";

import { updateConfigFile } from "../config/config-file.ts";
import {
  createContext,
  listContexts,
  metaDirectory,
  readContext,
  removeContext,
  TLS_FILES,
  tlsDirectory,
  tlsFilesOf,
  type TlsFile,
} from "../config/context-store.ts";
import { DEFAULT_CONTEXT, type Session } from "../config/session.ts";
import type { FlagSpec } from "../flags/spec.ts";
import { parseBool } from "../flags/values.ts";
import { keyValue } from "../options/csv.ts";
import { compileFormat, FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { truncate } from "../output/text.ts";
import { Row } from "#go-template";
import { print, printLine, warn } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { FORMAT_FLAG, JSON_FLAG } from "./shared-flags.ts";

const DESCRIPTION_WIDTH = 60;
const HOST_WARNING =
  "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable.";
const DEFAULT_DESCRIPTION = "Current DOCKER_HOST based configuration";

export const show: Command = {
  flags: [],
  run({ session }) {
    printLine(session.contextName);
    return 0;
  },
};

export const use: Command = {
  flags: [],
  async run({ args, session }) {
    const [name = ""] = args;
    if (name !== DEFAULT_CONTEXT) readContext(session.configDirectory, name);
    await updateConfigFile(session.configDirectory, (config) => {
      if (name === DEFAULT_CONTEXT) delete config["currentContext"];
      else config["currentContext"] = name;
    });
    printLine(name);
    warn(`Current context is now "${name}"`);
    if (name !== DEFAULT_CONTEXT && session.environment["DOCKER_HOST"]) {
      warn(HOST_WARNING);
    }
    return 0;
  },
};

const HEADERS = {
  Name: "NAME",
  Description: "DESCRIPTION",
  DockerEndpoint: "DOCKER ENDPOINT",
  Error: "ERROR",
};
const TABLE =
  "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";

export const ls: Command = {
  flags: [
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Only show context names" },
  ],
  run({ flags, session }) {
    const render = listFormatter({
      format: flags.string("format"),
      table: TABLE,
      headers: HEADERS,
    });
    const contexts = [defaultRow(session), ...storedRows(session)];
    if (flags.bool("json")) printLine(JSON.stringify(contexts));
    else if (flags.bool("quiet")) print(contexts.map(({ Name }) => `${Name}\n`).join(""));
    else {
      const rows = contexts.map((row) => new Row("*formatter.clientContextContext", { ...row }));
      print(render(rows));
    }
    if (session.environment["DOCKER_HOST"]) warn(HOST_WARNING);
    return 0;
  },
};

interface ContextRow {
  readonly Name: string;
  readonly Current: boolean;
  readonly Description: string;
  readonly DockerEndpoint: string;
  readonly Error: string;
}

const defaultRow = (session: Session): ContextRow => ({
  Name: DEFAULT_CONTEXT,
  Current: session.contextName === DEFAULT_CONTEXT,
  Description: DEFAULT_DESCRIPTION,
  DockerEndpoint: session.defaultHost,
  Error: "",
});

function storedRows(session: Session): ContextRow[] {
  return listContexts(session.configDirectory).map(({ Name, Metadata, Endpoints }) => ({
    Name,
    Current: session.contextName === Name,
    Description: truncate(Metadata?.Description ?? "", DESCRIPTION_WIDTH),
    DockerEndpoint: Endpoints?.["docker"]?.Host ?? "",
    Error: "",
  }));
}

/** What `create` and `update` say of a context. */
export const contextFlags: readonly FlagSpec[] = [
  { name: "description", kind: "string", usage: "Description of the context" },
  {
    name: "docker",
    kind: "strings",
    shown: "stringToString",
    usage: "set the docker endpoint",
    fallbackText: "[]",
    check: (text) => {
      const bad = text.split(",").find((field) => !field.includes("="));
      if (bad !== undefined) throw new Error(`${bad} must be formatted as key=value`);
      return text;
    },
  },
];

export const create: Command = {
  flags: [
    ...contextFlags,
    {
      name: "from",
      kind: "string",
      usage: "create context from a named context",
      values: "contexts",
    },
  ],
  run({ flags, args, session }) {
    const [name = ""] = args;
    checkName(name);
    const description = flags.string("description");
    const { docker, tls } = endpointAsked(session, flags.list("docker"), flags.string("from"));
    createContext(
      session.configDirectory,
      {
        Name: name,
        Metadata: description === "" ? {} : { Description: description },
        Endpoints: { docker },
      },
      tls,
    );
    printLine(name);
    warn(`Successfully created context "${name}"`);
    return 0;
  },
};

/** The endpoint that `--docker` and `--from` describe, with its TLS files. */
export function endpointAsked(session: Session, fields: readonly string[], asked: string) {
  const options = new Map(
    fields.map((field): [string, string] => {
      const [key, value = ""] = keyValue(field);
      return [key, value];
    }),
  );
  const from = asked || options.get("from");
  const base = from === undefined ? undefined : endpointOf(session, from);
  const Host = options.get("host") ?? base?.Host ?? session.defaultHost;
  checkKeys(options);
  parseHost(Host);
  const skip = options.get("skip-tls-verify");
  const SkipTLSVerify = skip === undefined ? (base?.SkipTLSVerify ?? false) : parseBool(skip);
  return { docker: { Host, SkipTLSVerify }, tls: tlsOf(session, options, from) };
}

/** @throws EngineError "invalid" for what cannot be a context's name */
export function checkName(name: string): void {
  if (name === "") throw invalid("context name cannot be empty");
  if (name === DEFAULT_CONTEXT) throw invalid('"default" is a reserved context name');
  if (!/^[a-zA-Z0-9][\w.+-]+$/.test(name)) {
    throw invalid(
      `context name "${name}" is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"`,
    );
  }
}

function checkKeys(options: ReadonlyMap<string, string>): void {
  const known = ["host", "ca", "cert", "key", "skip-tls-verify", "from"];
  for (const key of options.keys()) {
    if (!known.includes(key)) throw invalid(`unrecognized config key: ${key}`);
  }
}

function endpointOf(session: Session, name: string) {
  if (name === DEFAULT_CONTEXT) return { Host: session.defaultHost, SkipTLSVerify: false };
  return readContext(session.configDirectory, name).Endpoints["docker"];
}

function tlsOf(
  session: Session,
  options: ReadonlyMap<string, string>,
  from: string | undefined,
): Partial<Record<TlsFile, string>> {
  const material: Partial<Record<TlsFile, string>> = {};
  for (const file of TLS_FILES) {
    const path = options.get(file);
    const home = session.environment["HOME"] ?? "";
    if (path !== undefined) material[file] = readPem(path.replace(/^~(?=\/)/, home));
    else if (from !== undefined && from !== DEFAULT_CONTEXT) {
      const stored = `${tlsDirectory(session.configDirectory, from)}/docker/${file}.pem`;
      if (tlsFilesOf(session.configDirectory, from).includes(`${file}.pem`)) {
        material[file] = readPem(stored);
      }
    }
  }
  return material;
}

function readPem(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw invalid(`unable to read ${path}: ${sentenceOf(cause)}`, { cause });
  }
}

export const rm: Command = {
  flags: [
    { name: "force", shorthand: "f", kind: "bool", usage: "Force the removal of a context in use" },
  ],
  async run({ flags, args, session }) {
    const force = flags.bool("force");
    let failed = false;
    for (const name of args) {
      try {
        await removeOne(session, name, force);
        printLine(name);
      } catch (cause) {
        warn(sentenceOf(cause));
        failed = true;
      }
    }
    return failed ? 1 : 0;
  },
};

async function removeOne(session: Session, name: string, force: boolean): Promise<void> {
  if (name === DEFAULT_CONTEXT) throw invalid('context "default" cannot be removed');
  if (!listContexts(session.configDirectory).some(({ Name }) => Name === name)) {
    if (force) return;
    throw notFound(`context "${name}" does not exist`);
  }
  if (name === session.contextName) {
    if (!force) throw conflict(`context "${name}" is in use, set -f flag to force remove`);
    await updateConfigFile(session.configDirectory, (config) => delete config["currentContext"]);
  }
  removeContext(session.configDirectory, name);
}

export const inspect: Command = {
  flags: [FORMAT_FLAG, JSON_FLAG],
  run({ flags, args, session }) {
    const names = args.length === 0 ? [session.contextName] : args;
    const found: ReturnType<typeof describe>[] = [];
    let failure = "";
    for (const name of names) {
      try {
        found.push(describe(session, name));
      } catch (cause) {
        failure = sentenceOf(cause);
        break;
      }
    }
    const format = flags.bool("json") ? "" : flags.string("format");
    if (format === "") print(`${JSON.stringify(found, null, 4)}\n`);
    else print(found.map((context) => `${compileFormat(format)(context)}\n`).join(""));
    if (failure !== "") throw new ExitError(1, failure);
    return 0;
  },
};

function describe(session: Session, name: string) {
  if (name === DEFAULT_CONTEXT) {
    return {
      Name: DEFAULT_CONTEXT,
      Metadata: {},
      Endpoints: { docker: { Host: session.defaultHost, SkipTLSVerify: false } },
      TLSMaterial: {},
      Storage: { MetadataPath: "<IN MEMORY>", TLSPath: "<IN MEMORY>" },
    };
  }
  const directory = session.configDirectory;
  const files = tlsFilesOf(directory, name);
  return {
    ...readContext(directory, name),
    TLSMaterial: files.length === 0 ? {} : { docker: files },
    Storage: {
      MetadataPath: metaDirectory(directory, name),
      TLSPath: tlsDirectory(directory, name),
    },
  };
}
