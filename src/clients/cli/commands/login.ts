/** `naru login` and `naru logout`: credentials for registries, checked by the daemon, kept in docker's own files. */
import { invalid } from "#base";
import { checkAuth } from "#clients/api-client";
import type { AuthConfig } from "#wire/docker";

import { configPath } from "../config/config-file.ts";
import { credentialsFor, eraseCredentials, storeCredentials } from "../config/credentials.ts";
import type { Session } from "../config/session.ts";
import type { Flags } from "../flags/spec.ts";
import { printLine, readToEnd, STDERR, STDIN, warn, writeAll } from "../terminal/stdio.ts";
import { prompt } from "../terminal/prompt.ts";
import { hideInput, isTerminal } from "../terminal/tty.ts";
import { ExitError, type Command } from "./command.ts";

const HUB = "https://index.docker.io/v1/";

export const login: Command = {
  flags: [
    {
      name: "password",
      shorthand: "p",
      kind: "string",
      usage: "Password or Personal Access Token (PAT)",
    },
    {
      name: "password-stdin",
      kind: "bool",
      usage: "Take the Password or Personal Access Token (PAT) from stdin",
    },
    { name: "username", shorthand: "u", kind: "string", usage: "Username" },
  ],
  async run({ flags, args, session }) {
    const registry = registryOf(args[0]);
    const known = await credentialsFor(session.config, registry);
    const given = ["username", "password", "password-stdin"].some((name) => flags.changed(name));
    if (!given && known?.username !== undefined && (await tryKnown(session, known))) return 0;
    const auth = { ...ask(session, flags, known?.username), serveraddress: registry };
    await finish(session, registry, auth);
    return 0;
  },
};

export const logout: Command = {
  flags: [],
  async run({ args, session }) {
    const registry = registryOf(args[0]);
    printLine(`Removing login credentials for ${registry}`);
    await eraseCredentials(session.configDirectory, session.config, registry);
    return 0;
  },
};

/** The key credentials are kept under: Docker Hub has a URL for historical reasons, others their host. */
function registryOf(server: string | undefined): string {
  if (server === undefined || server === "") return HUB;
  const host = server.replace(/^https?:\/\//, "").split("/", 1)[0] ?? "";
  return ["docker.io", "index.docker.io", "registry-1.docker.io"].includes(host) ? HUB : host;
}

async function tryKnown(session: Session, known: AuthConfig): Promise<boolean> {
  printLine(`Authenticating with existing credentials... [Username: ${known.username}]`);
  try {
    await checkAuth(await session.client(), known);
  } catch {
    warn("Stored credentials invalid or expired");
    return false;
  }
  printLine("\nLogin Succeeded");
  return true;
}

function ask(session: Session, flags: Flags, suggested: string | undefined) {
  const { username, password } = fromFlags(session, flags);
  if (username !== "" && password !== "") return { username, password };
  if (!isTerminal(STDIN)) {
    throw new ExitError(1, "Error: Cannot perform an interactive login from a non TTY device");
  }
  const shown = suggested === undefined ? "" : ` (${suggested})`;
  const user = username || prompt(`Username${shown}: `) || (suggested ?? "");
  if (user === "") throw invalid("Error: Non-null Username Required");
  const secret = password || promptHidden("Password: ");
  if (secret === "") throw invalid("Error: Password Required");
  return { username: user, password: secret };
}

function fromFlags(session: Session, flags: Flags): { username: string; password: string } {
  const username = flags.string("username");
  const password = flags.string("password");
  if (flags.changed("password")) {
    session.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    if (flags.bool("password-stdin")) {
      throw invalid("--password and --password-stdin are mutually exclusive");
    }
  }
  if (!flags.bool("password-stdin")) return { username, password };
  if (username === "") throw invalid("the --password-stdin option requires --username to be set");
  const text = new TextDecoder().decode(readToEnd(STDIN));
  return { username, password: text.replace(/\r?\n$/, "") };
}

async function finish(session: Session, registry: string, auth: AuthConfig): Promise<void> {
  const answer = await checkAuth(await session.client(), auth);
  const token = answer.IdentityToken ?? "";
  const kept = token === "" ? auth : { username: auth.username ?? "", identitytoken: token };
  const { configDirectory: directory, config } = session;
  const { plain } = await storeCredentials(directory, config, registry, kept);
  if (plain) {
    session.warn(`
WARNING! Your credentials are stored unencrypted in '${configPath(directory)}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/
`);
  }
  printLine(answer.Status || "Login Succeeded");
}

function promptHidden(question: string): string {
  const hidden = hideInput(STDIN);
  try {
    return prompt(question);
  } finally {
    hidden.restore();
    writeAll(STDERR, "\n");
  }
}
