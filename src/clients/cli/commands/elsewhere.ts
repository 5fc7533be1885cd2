/** Commands whose work only an engine of another kind can do: the engine is asked, and says so itself. */
import { encodeName } from "#clients/api-client";

import { print, warn } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { messageFor } from "./failure.ts";
import { swarmFlags } from "./swarm-flags.ts";

interface Asked {
  /** `inspect` is a GET whose command prints a list of what it found. */
  readonly method: "GET" | "POST" | "DELETE" | "inspect";
  /** `:arg` stands for each argument, `:first` for the first alone, `:tagged` for it with a tag. */
  readonly path: string;
}

/** What docker says before the engine's sentence. */
const WORDS: Readonly<Record<string, (thing: string) => string>> = {
  "service scale": (thing) => `${thing.split("=", 1)[0]}: `,
  "swarm unlock-key": () => "could not fetch unlock key: ",
};

export const ask = (name: string, { method, path }: Asked): Command => ({
  flags: swarmFlags(name),
  async run({ flags, args, session }) {
    const client = await session.client();
    const things = path.includes(":arg") ? (args.length === 0 ? ["self"] : args) : [""];
    const failures: string[] = [];
    for (const thing of things) {
      try {
        await client.send({
          method: method === "inspect" ? "GET" : method,
          path: path
            .replace(":arg", encodeName(thing))
            .replace(":tagged", encodeName(args[0]?.includes(":") ? args[0] : `${args[0]}:latest`))
            .replace(":first", encodeName(args[0] ?? "")),
          ...(method === "POST" ? { json: {} } : {}),
        });
      } catch (cause) {
        failures.push((WORDS[name]?.(thing) ?? "") + messageFor(cause));
      }
    }
    const isShaped = ["format", "pretty"].some((flag) => flags.changed(flag));
    if (method === "inspect" && !isShaped) print("[]\n");
    for (const failure of failures) warn(failure);
    if (failures.length === things.length) return 1;
    throw new ExitError(1, `naru: '${name}' needs docker's own client on this engine`);
  },
});
