/** The commands of the engine, of this client's own files, and of shells. */
import type { CommandEntry } from "./command.ts";

/** What `create` and `update` say of an endpoint. */
const endpointHelp = (what: string, command: string): string => `${what}

Docker endpoint config:

NAME                DESCRIPTION
from                Copy named context's Docker endpoint configuration
host                Docker endpoint on which to connect
ca                  Trust certs signed only by this CA
cert                Path to TLS certificate file
key                 Path to TLS key file
skip-tls-verify     Skip TLS certificate validation

Example:

$ naru context ${command} my-context --description "some description" --docker "host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file"`;

export const systemCommands: readonly CommandEntry[] = [
  {
    names: ["version"],
    usage: "[OPTIONS]",
    short: "Show the Naru version information",
    args: { min: 0, max: 0 },
    common: true,
    load: async () => (await import("./version.ts")).version,
  },
  {
    names: ["system info", "info"],
    usage: "[OPTIONS]",
    short: "Display system-wide information",
    args: { min: 0, max: 0 },
    common: true,
    load: async () => (await import("./info.ts")).info,
  },
  {
    names: ["doctor"],
    usage: "[OPTIONS]",
    short: "Check what this host has for containers, and say how to get the rest",
    args: { min: 0, max: 0 },
    examples: ["naru doctor", "naru doctor --json | jq '.[] | select(.verdict != \"ok\")'"],
    load: async () => (await import("./doctor.ts")).doctor,
  },
  {
    names: ["system df"],
    usage: "[OPTIONS]",
    short: "Show naru disk usage",
    args: { min: 0, max: 0 },
    load: async () => (await import("./df.ts")).df,
  },
  {
    names: ["system events", "events"],
    usage: "[OPTIONS]",
    short: "Get real time events from the server",
    args: { min: 0, max: 0 },
    load: async () => (await import("./events.ts")).events,
  },
  {
    names: ["system prune"],
    usage: "[OPTIONS]",
    short: "Remove unused data",
    args: { min: 0, max: 0 },
    load: async () => (await import("./prune-system.ts")).prune,
  },
  {
    names: ["system dial-stdio"],
    usage: "",
    short: "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
    args: { min: 0, max: 0 },
    hidden: true,
    load: async () => (await import("./dial-stdio.ts")).dialStdio,
  },
  {
    names: ["inspect"],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    short: "Return low-level information on Naru objects",
    args: { min: 1 },
    completes: "containers",
    load: async () => (await import("./inspect.ts")).inspect,
  },
  {
    names: ["context create"],
    usage: "[OPTIONS] CONTEXT",
    short: "Create a context",
    args: { min: 1, max: 1 },
    completes: "none",
    long: endpointHelp("Create a context", "create"),
    load: async () => (await import("./context.ts")).create,
  },
  {
    names: ["context export"],
    usage: "[OPTIONS] CONTEXT [FILE|-]",
    short: "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    args: { min: 1, max: 2 },
    completes: "contexts",
    load: async () => (await import("./context-files.ts")).exportCommand,
  },
  {
    names: ["context import"],
    usage: "CONTEXT FILE|-",
    short: "Import a context from a tar or zip file",
    args: { min: 2, max: 2 },
    completes: "files",
    load: async () => (await import("./context-files.ts")).importCommand,
  },
  {
    names: ["context update"],
    usage: "[OPTIONS] CONTEXT",
    short: "Update a context",
    long: endpointHelp("Update a context", "update"),
    args: { min: 1, max: 1 },
    completes: "contexts",
    load: async () => (await import("./context-files.ts")).update,
  },
  {
    names: ["context inspect"],
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    short: "Display detailed information on one or more contexts",
    args: { min: 0 },
    completes: "contexts",
    load: async () => (await import("./context.ts")).inspect,
  },
  {
    names: ["context ls", "context list"],
    usage: "[OPTIONS]",
    short: "List contexts",
    args: { min: 0, max: 0 },
    load: async () => (await import("./context.ts")).ls,
  },
  {
    names: ["context rm", "context remove"],
    usage: "CONTEXT [CONTEXT...]",
    short: "Remove one or more contexts",
    args: { min: 1 },
    completes: "contexts",
    load: async () => (await import("./context.ts")).rm,
  },
  {
    names: ["context show"],
    usage: "",
    short: "Print the name of the current context",
    args: { min: 0, max: 0 },
    load: async () => (await import("./context.ts")).show,
  },
  {
    names: ["context use"],
    usage: "CONTEXT",
    short: "Set the current naru context",
    args: { min: 1, max: 1, exact: 1 },
    completes: "contexts",
    load: async () => (await import("./context.ts")).use,
  },
  ...(["bash", "fish", "zsh"] as const).map((shell) => ({
    names: [`completion ${shell}`],
    usage: "",
    short: `Generate the autocompletion script for ${shell}`,
    args: { min: 0, max: 0 },
    load: async () => (await import("./completion.ts")).completionScript(shell),
  })),
];
