/** The flags before the command's name. */
import type { FlagSpec } from "../flags/spec.ts";

/** In help's order. */
export const globalFlags = (): readonly FlagSpec[] => [
  {
    name: "config",
    kind: "string",
    usage: "Location of client config files",
    fallbackText: JSON.stringify(`${process.env["HOME"] ?? ""}/.docker`),
    values: "files",
  },
  {
    name: "context",
    shorthand: "c",
    kind: "string",
    usage:
      'Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with "naru context use")',
    values: "contexts",
  },
  { name: "debug", shorthand: "D", kind: "bool", usage: "Enable debug mode" },
  {
    name: "host",
    shorthand: "H",
    kind: "list",
    usage: "Daemon socket to connect to",
    values: "files",
  },
  {
    name: "log-level",
    shorthand: "l",
    kind: "string",
    usage: 'Set the logging level ("debug", "info", "warn", "error", "fatal")',
    fallback: "info",
    values: ["debug", "info", "warn", "error", "fatal"],
  },
  { name: "tls", kind: "bool", usage: "Use TLS; implied by --tlsverify" },
  {
    name: "tlscacert",
    kind: "string",
    usage: "Trust certs signed only by this CA",
    values: "files",
  },
  { name: "tlscert", kind: "string", usage: "Path to TLS certificate file", values: "files" },
  { name: "tlskey", kind: "string", usage: "Path to TLS key file", values: "files" },
  { name: "tlsverify", kind: "bool", usage: "Use TLS and verify the remote" },
  { name: "version", shorthand: "v", kind: "bool", usage: "Print version information and quit" },
];
