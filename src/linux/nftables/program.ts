/** The `nft` program: the same transactions, 5 ms each, where the library is missing. */
import { sentenceOf } from "#base";

import { type Nftables, NftablesError, objectsIn } from "./nftables.ts";

/** How long one transaction may take; a large ruleset needs a second or two. */
const TIMEOUT_MS = 30_000;

export function openProgram(): Nftables {
  return {
    apply: (commands) => void run(commands, ["-f", "-"]),
    list: (command) => objectsIn(run([command], ["-j", "-f", "-"])),
    outline: (command) => objectsIn(run([command], ["-j", "-t", "-f", "-"])),
    [Symbol.dispose]: () => {
      // Nothing is held between two calls.
    },
  };
}

function run(commands: readonly string[], options: readonly string[]): string {
  const program = Bun.which("nft") ?? "/usr/sbin/nft";
  let child: Bun.SyncSubprocess<"pipe", "pipe">;
  try {
    child = Bun.spawnSync([program, ...options], {
      stdin: Buffer.from(`${commands.join("\n")}\n`),
      stdout: "pipe",
      stderr: "pipe",
      timeout: TIMEOUT_MS,
    });
  } catch (cause) {
    throw new NftablesError(
      commands,
      `neither libnftables.so.1 nor nft can be run: ${sentenceOf(cause)}`,
    );
  }
  if (child.exitCode !== 0) throw new NftablesError(commands, child.stderr.toString());
  return child.stdout.toString();
}
