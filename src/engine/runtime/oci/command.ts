/** An OCI runtime as it is named in records and to the supervisor: its program, and words before each of its commands. */
import { invalid } from "#base";

export interface RuntimeCommand {
  /** By name or path: "runc". */
  readonly path: string;
  readonly args: readonly string[];
}

/** The program's name or path; with words of its own, all of them as a JSON list. */
export const formatRuntimeCommand = ({ path, args }: RuntimeCommand): string =>
  args.length === 0 ? path : JSON.stringify([path, ...args]);

/** @throws EngineError "invalid" */
export function parseRuntimeCommand(text: string): RuntimeCommand {
  if (!text.startsWith("[")) return { path: text, args: [] };
  const words: unknown = JSON.parse(text);
  if (!Array.isArray(words)) throw invalid(`invalid runtime: ${text}`);
  const [path = "", ...args] = words.map(String);
  return { path, args };
}
