/**
 * The `git` program, as a stranger's repository may be given to it: no configuration but ours, no hooks, no
 * questions, only transports that reach other hosts, and an end to its time and its space.
 */
import { invalid, sentenceOf, unavailable } from "#base";
import { usageOf } from "#engine/snapshot";

const TIMEOUT_MS = 600_000;
const CHECK_MS = 1000;
/** What one repository may take on disk. */
const SPACE_LIMIT_BYTES = 16 * 1024 ** 3;
const OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024;
const SAID_LIMIT = 2000;

export interface GitAccess {
  /** An ssh agent's socket on this host, or null. */
  readonly agent: string | null;
  /** For `Authorization:`, or null. */
  readonly token: string | null;
}

export interface GitCall {
  /** Work tree with its `.git`, watched while git runs; null for a call that writes nothing. */
  readonly folder: string | null;
  readonly remote: string;
  readonly access: GitAccess;
  readonly signal: AbortSignal;
}

const SETTINGS: readonly (readonly [string, string])[] = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.logAllRefUpdates", "false"],
  ["init.defaultBranch", "master"],
  ["init.templateDir", ""],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["credential.helper", ""],
  ["advice.detachedHead", "false"],
];

const SSH =
  "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null";

function environmentOf({ remote, access }: GitCall): Record<string, string> {
  const settings = [...SETTINGS];
  if (access.token !== null && /^https?:/i.test(remote)) {
    // Only for this host: a redirection or a submodule elsewhere does not get it.
    const basic = Buffer.from(`x-access-token:${access.token}`).toString("base64");
    const { origin } = new URL(remote);
    settings.push([`http.${origin}/.extraHeader`, `Authorization: basic ${basic}`]);
  }
  const env: Record<string, string> = {
    PATH: process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/nonexistent",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ALLOW_PROTOCOL: "http:https:git:ssh",
    GIT_SSH_COMMAND: SSH,
    GIT_CONFIG_COUNT: String(settings.length),
    ...(access.agent === null ? {} : { SSH_AUTH_SOCK: access.agent }),
  };
  for (const [index, [name, value]] of settings.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = name;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  for (const name of ["http_proxy", "https_proxy", "no_proxy", "all_proxy"]) {
    const value = process.env[name] ?? process.env[name.toUpperCase()];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** What it printed. @throws EngineError "invalid" with what git said */
export async function runGit(args: readonly string[], call: GitCall): Promise<string> {
  const { folder, remote, signal } = call;
  signal.throwIfAborted();
  const child = started(args, call);
  let why: string | null = null;
  const stop = () => {
    try {
      // It is its own group's first: its helpers go with it.
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // Over already.
    }
  };
  const give = (reason: string) => {
    why ??= reason;
    stop();
  };
  signal.addEventListener("abort", stop, { once: true });
  const timer = setTimeout(() => give("it took too long"), TIMEOUT_MS);
  const watch = setInterval(() => {
    if (folder === null) return;
    usageOf(folder).then(
      (bytes) => bytes > SPACE_LIMIT_BYTES && give("the repository is too large"),
      // Files come and go while git works.
      () => undefined,
    );
  }, CHECK_MS);
  try {
    const tooMuch = () => give("git printed too much");
    const [printed, said] = await Promise.all([
      textOf(child.stdout, tooMuch),
      textOf(child.stderr, tooMuch),
    ]);
    const code = await child.exited;
    signal.throwIfAborted();
    if (why === null && code === 0) return printed;
    const sentence = why ?? said.trim().slice(-SAID_LIMIT);
    throw invalid(`failed to fetch the git repository ${shown(remote)}: ${sentence}`);
  } finally {
    clearTimeout(timer);
    clearInterval(watch);
    signal.removeEventListener("abort", stop);
  }
}

function started(args: readonly string[], call: GitCall) {
  try {
    return Bun.spawn(["git", ...args], {
      ...(call.folder === null ? { cwd: "/" } : { cwd: call.folder }),
      env: environmentOf(call),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
  } catch (cause) {
    throw unavailable(`git could not be started, is it installed? ${sentenceOf(cause)}`, { cause });
  }
}

/** Without a password. */
const shown = (remote: string): string => remote.replace(/^(\w+:\/\/)[^/@]*@/, "$1");

async function textOf(stream: ReadableStream<Uint8Array>, onTooMuch: () => void): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > OUTPUT_LIMIT_BYTES) onTooMuch();
    else text += decoder.decode(chunk, { stream: true });
  }
  return text;
}
