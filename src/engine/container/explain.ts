/** `naru run --explain`: what a start would do, without doing it. */
import { composeSpec } from "./prepare.ts";
import type { Context } from "./context.ts";

export async function explainStart(context: Context, nameOrId: string): Promise<string> {
  const record = context.records.resolve(nameOrId);
  return JSON.stringify(composeSpec(context, record), null, 2);
}
