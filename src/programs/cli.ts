/** The command line: runs one command and ends with its exit code, whatever is still open. */
import { main } from "#clients/cli";

import manifest from "../../package.json" with { type: "json" };

declare const NARU_COMMIT: string | undefined;
declare const NARU_BUILT: string | undefined;

export async function run(args: readonly string[]): Promise<void> {
  const build = {
    version: manifest.version,
    commit: typeof NARU_COMMIT === "string" ? NARU_COMMIT : "source",
    built: typeof NARU_BUILT === "string" ? NARU_BUILT : "unknown",
  };
  process.exit(await main(args, process.env, build));
}
