/**
 * What runtimes can do, in the words of the OCI runtime specification's features document: of OCI runtimes as their
 * `features` command tells it, asked once; of the native one from its own tables.
 */
import { mountOptionNames } from "#linux/mount";
import { capabilityNames, seccompWords } from "#linux/security";

import { parseRuntimeCommand } from "./oci/command.ts";

/** Of a program that answers in milliseconds: on a machine that is out of breath, too. */
const TIMEOUT_MS = 20_000;
const ANSWER_LIMIT_BYTES = 256 * 1024;

const told = new Map<string, Promise<string | null>>();

/** By name, of those that tell. @param runtimes name to command */
export async function runtimeFeatures(
  runtimes: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, string>> {
  const answers = await Promise.all(
    [...runtimes].map(async ([name, command]) => [name, await featuresOf(command)] as const),
  );
  return new Map(answers.flatMap(([name, text]) => (text === null ? [] : [[name, text] as const])));
}

function featuresOf(command: string): Promise<string | null> {
  let known = told.get(command);
  if (known === undefined) {
    known = command === "native" ? Promise.resolve(nativeFeatures()) : ask(command);
    told.set(command, known);
  }
  return known;
}

/** null for a runtime that has no such command, as older ones. */
async function ask(command: string): Promise<string | null> {
  const { path, args } = parseRuntimeCommand(command);
  try {
    const child = Bun.spawn([path, ...args, "features"], {
      stdio: ["ignore", "pipe", "ignore"],
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    const text = await new Response(child.stdout).text();
    if ((await child.exited) !== 0 || text.length > ANSWER_LIMIT_BYTES) return null;
    return JSON.stringify(JSON.parse(text));
  } catch {
    return null;
  }
}

const nativeFeatures = (): string =>
  JSON.stringify({
    ociVersionMin: "1.0.0",
    ociVersionMax: "1.2.0",
    hooks: [
      "prestart",
      "createRuntime",
      "createContainer",
      "startContainer",
      "poststart",
      "poststop",
    ],
    mountOptions: mountOptionNames(),
    linux: {
      namespaces: ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
      capabilities: capabilityNames,
      cgroup: { v1: true, v2: true, systemd: false, systemdUser: false, rdma: false },
      seccomp: { enabled: true, ...seccompWords() },
      apparmor: { enabled: true },
      selinux: { enabled: false },
    },
  });
