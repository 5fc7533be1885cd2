/**
 * `--ssh ID=KEY`: keys in files, held by an agent of this build's own (OpenSSH's, which knows every kind of key). The
 * engine and its steps only ever see the agent's socket.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { invalid, sentenceOf } from "#base";

import type { Environment } from "../config/session.ts";
import { keyValue } from "../options/csv.ts";

export interface BuildAgents extends Disposable {
  /** Sockets by the id of `--mount=type=ssh`. */
  readonly sockets: ReadonlyMap<string, string>;
}

/** `default`, `ID`, `ID=SOCKET` or `ID=KEY[,KEY]`. @throws EngineError "invalid" */
export async function openAgents(
  texts: readonly string[],
  environment: Environment,
): Promise<BuildAgents> {
  const sockets = new Map<string, string>();
  const stack = new DisposableStack();
  try {
    for (const text of texts) {
      const [id, value = ""] = keyValue(text);
      const paths = value.split(",").filter((path) => path !== "");
      sockets.set(id === "" ? "default" : id, await socketFor(paths, environment, stack));
    }
    return { sockets, [Symbol.dispose]: () => stack.dispose() };
  } catch (cause) {
    stack.dispose();
    throw cause;
  }
}

async function socketFor(
  paths: readonly string[],
  environment: Environment,
  stack: DisposableStack,
): Promise<string> {
  const [first = environment["SSH_AUTH_SOCK"] ?? "", ...others] = paths;
  if (first === "") {
    throw invalid("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
  }
  const areSockets = [first, ...others].map(isSocket);
  if (!areSockets.includes(true)) return await agentWith([first, ...others], stack);
  if (areSockets.includes(false)) throw invalid("invalid combination of keys and sockets");
  if (others.length > 0) throw invalid("only single socket allowed");
  return first;
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch (cause) {
    throw invalid(`could not parse ssh: failed to open ${path}: no such file or directory`, {
      cause,
    });
  }
}

async function agentWith(keys: readonly string[], stack: DisposableStack): Promise<string> {
  const folder = stack.adopt(mkdtempSync(join(tmpdir(), "naru-ssh-")), (path) =>
    rmSync(path, { recursive: true, force: true }),
  );
  const socket = join(folder, "agent");
  // The agent looks after a program that lives as long as this one: keys never outlive a client that was killed.
  const watched = ["sh", "-c", "echo $SSH_AGENT_PID; exec cat"];
  const command = spawned(["ssh-agent", "-a", socket, ...watched], {}, "pipe");
  stack.defer(() => command.kill("SIGKILL"));
  const { value } = await command.stdout.getReader().read();
  const agent = Number(new TextDecoder().decode(value));
  if (!(agent > 1)) throw invalid("ssh-agent did not start");
  // Told to end, it would take its socket away itself, and a folder that changes meanwhile is not removed.
  stack.defer(() => process.kill(agent, "SIGKILL"));
  for (const key of keys) {
    const adding = spawned(["ssh-add", "-q", key], {
      SSH_AUTH_SOCK: socket,
      SSH_ASKPASS_REQUIRE: "never",
    });
    const said = await new Response(adding.stderr).text();
    if ((await adding.exited) !== 0) {
      throw invalid(`failed to parse ${key}: ${said.trim() || "ssh-add refused it"}`);
    }
  }
  return socket;
}

function spawned(
  command: string[],
  variables: Record<string, string>,
  stdin: "ignore" | "pipe" = "ignore",
) {
  try {
    return Bun.spawn(command, {
      env: { ...process.env, ...variables },
      stdin,
      stdout: "pipe",
      stderr: "pipe",
      // A session of its own has no terminal to ask for a passphrase on.
      detached: true,
    });
  } catch (cause) {
    const why = `keys in files need ${command[0] ?? ""} of OpenSSH: ${sentenceOf(cause)}`;
    throw invalid(why, { cause });
  }
}
