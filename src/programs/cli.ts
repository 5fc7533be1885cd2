/** The command line: runs one command and ends with its exit code, whatever is still open. */
import { main } from "#clients/cli";

export async function run(args: readonly string[]): Promise<void> {
  process.exit(await main(args, process.env));
}
