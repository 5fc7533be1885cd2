/** `naru version`: this program, and the daemon it talks to. */
import { sentenceOf } from "#base";
import { ApiError, systemVersion, type ApiClient } from "#clients/api-client";
import { API_VERSION, type SystemVersion } from "#wire/docker";

import type { Build, Session } from "../config/session.ts";
import { compileFormat } from "../output/formatter.ts";
import { asType, TemplateError } from "#go-template";
import { print, printLine } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { FORMAT_FLAG, JSON_FLAG } from "./shared-flags.ts";

const TEMPLATE_EXIT = 64;

/** `naru --version`. */
export const versionLine = ({ version, commit }: Build): string =>
  `Naru version ${version}, build ${commit}`;

interface ClientVersion {
  readonly Platform: { readonly Name: string };
  readonly Version: string;
  readonly ApiVersion: string;
  readonly DefaultAPIVersion: string;
  readonly GitCommit: string;
  readonly GoVersion: string;
  readonly Os: string;
  readonly Arch: string;
  readonly BuildTime: string;
  readonly Context: string;
}

export const version: Command = {
  flags: [FORMAT_FLAG, JSON_FLAG],
  async run({ flags, session }) {
    const format = flags.bool("json") ? "json" : flags.string("format");
    const render = format === "" ? undefined : compile(format);
    const client = await session.client();
    let server: SystemVersion | null = null;
    let failure: unknown;
    try {
      server = await systemVersion(client);
    } catch (cause) {
      failure = cause;
    }
    const local = clientVersion(session, client);
    if (render === undefined) print(versionText(local, server));
    else printLine(execute(render, { Client: local, Server: withTextDates(server) }));
    if (failure === undefined) return 0;
    const prefix = failure instanceof ApiError ? "Error response from daemon: " : "";
    throw new ExitError(1, prefix + sentenceOf(failure));
  },
};

function compile(format: string): (data: unknown) => string {
  try {
    return compileFormat(format, "version");
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new ExitError(TEMPLATE_EXIT, `template parsing error: ${cause.message}`);
  }
}

/** Docker tells a template's mistakes as they are. */
function execute(render: (data: unknown) => string, data: object): string {
  try {
    return render(asType("system.versionInfo", data));
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new ExitError(1, cause.message);
  }
}

/** The components' dates as docker writes them: `Fri May 30 12:07:14 2025`. */
function withTextDates(server: SystemVersion | null): SystemVersion | null {
  if (server === null) return null;
  const components = (server.Components ?? []).map((component) => {
    const built = component.Details?.["BuildTime"];
    if (built === undefined) return component;
    return { ...component, Details: { ...component.Details, BuildTime: textDate(built) } };
  });
  return { ...server, Components: components };
}

function textDate(instant: string): string {
  const date = new Date(instant);
  if (Number.isNaN(date.getTime())) return instant;
  const [weekday = "", day = "", month = "", year = "", time = ""] = date.toUTCString().split(" ");
  const dayOfMonth = String(Number(day)).padStart(2);
  return `${weekday.replace(",", "")} ${month} ${dayOfMonth} ${time === "" ? "" : `${time} `}${year}`;
}

const architecture = (): string => (process.arch === "x64" ? "amd64" : process.arch);

function clientVersion(session: Session, client: ApiClient): ClientVersion {
  const { build } = session;
  return {
    Platform: { Name: "Naru" },
    Version: build.version,
    ApiVersion: client.apiVersion,
    DefaultAPIVersion: API_VERSION,
    GitCommit: build.commit,
    GoVersion: `bun${Bun.version}`,
    Os: "linux",
    Arch: architecture(),
    BuildTime: build.built,
    Context: session.contextName,
  };
}

const field = (name: string, value: string, indent = 1): string =>
  `${" ".repeat(indent)}${`${name}:`.padEnd(19 - indent + 1)}${value}\n`;

function versionText(local: ClientVersion, server: SystemVersion | null): string {
  const { ApiVersion: api, DefaultAPIVersion: newest } = local;
  let text = `Client:\n${field("Version", local.Version)}`;
  text += field("API version", api === newest ? api : `${api} (downgraded from ${newest})`);
  text += field("Bun version", Bun.version);
  text += field("Git commit", local.GitCommit);
  text += field("Built", local.BuildTime);
  text += field("OS/Arch", `${local.Os}/${local.Arch}`);
  text += field("Context", local.Context);
  return server === null ? text : `${text}\n${serverText(server)}`;
}

function serverText(server: SystemVersion): string {
  const name = server.Platform?.Name ?? "";
  let text = `Server:${name === "" ? "" : ` ${name}`}\n`;
  for (const component of server.Components ?? []) {
    const details = component.Details ?? {};
    text += ` ${component.Name}:\n${field("Version", component.Version, 2)}`;
    if (component.Name === "Engine") {
      const minimum = details["MinAPIVersion"] ?? server.MinAPIVersion;
      text += field("API version", `${server.ApiVersion} (minimum version ${minimum})`, 2);
      text += field("Go version", server.GoVersion, 2);
      text += field("Git commit", server.GitCommit, 2);
      text += field("Built", server.BuildTime, 2);
      text += field("OS/Arch", `${server.Os}/${server.Arch}`, 2);
      text += field("Experimental", String(server.Experimental ?? false), 2);
    } else if (details["GitCommit"] !== undefined) {
      text += field("GitCommit", details["GitCommit"], 2);
    }
  }
  return text;
}
