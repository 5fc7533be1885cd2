/** `--on-fail shell`: this terminal in a step that has failed. */
import { sentenceOf } from "#base";
import { type ApiClient, enterFailed, leaveFailed, resizeFailed } from "#clients/api-client";

import { followSize, join } from "../commands/attached.ts";
import { STDOUT, warn } from "../terminal/stdio.ts";
import { windowSize } from "../terminal/tty.ts";

const DEFAULT_SIZE = { rows: 24, columns: 80 };

/** Resolves when the person has left; says why when the step cannot be entered. */
export async function visitFailed(
  client: ApiClient,
  { id, error }: { readonly id: string; readonly error: string },
): Promise<void> {
  warn(`\n${error}\nThis is a shell in what the step has left; the build ends when you leave it.`);
  try {
    const hijacked = await enterFailed(client, id, windowSize(STDOUT) ?? DEFAULT_SIZE);
    const joined = join(hijacked, { tty: true, stdin: true, detachKeys: null });
    const stop = followSize((size) => resizeFailed(client, id, size));
    await joined.done.finally(stop);
  } catch (cause) {
    warn(`the step cannot be entered: ${sentenceOf(cause)}`);
    await leaveFailed(client, id).catch(() => undefined); // the build may have ended
  }
}
