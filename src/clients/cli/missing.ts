/** What is said where there is no command to run: help, and what may have been meant. Exit codes as in main.ts. */
import { ExitError, type FoundCommand } from "./commands/command.ts";
import {
  commands,
  findCommand,
  groups,
  groupUsage,
  unbuilt,
  type Found,
} from "./commands/table.ts";
import { editDistance } from "./flags/parse.ts";
import { commandHelp, groupHelp, programHelp } from "./help.ts";
import { print } from "./terminal/stdio.ts";

/** Help on a command, a group, or (without words) the program. @throws ExitError */
export async function showHelp(words: readonly string[]): Promise<number> {
  if (words.length === 0) {
    print(programHelp());
    return 0;
  }
  const found = findCommand(words);
  switch (found.kind) {
    case "command":
      print(await commandHelp(found.entry, found.name));
      return 0;
    case "group":
      print(groupHelp(found.name));
      return 0;
    case "unbuilt":
      throw new ExitError(1, `naru: '${found.name}' ${unbuilt.get(found.name)}`);
    case "unknown":
      throw new ExitError(1, `unknown help topic: ${words.join(" ")}`);
  }
}

/** @throws ExitError for words that are no command; a group alone shows its help */
export async function explainMissing(
  found: Exclude<Found, FoundCommand>,
  words: readonly string[],
): Promise<number> {
  switch (found.kind) {
    case "unbuilt":
      throw new ExitError(1, `naru: '${found.name}' ${unbuilt.get(found.name)}`);
    case "group": {
      if (found.next === undefined || found.next === "--help" || found.next === "-h") {
        return showHelp([found.name]);
      }
      const name = `${found.name} ${found.next}`;
      throw new ExitError(
        1,
        `naru: unknown command: naru ${name}\n\nUsage:  naru ${groupUsage(found.name)}\n\nRun 'naru ${found.name} --help' for more information${didYouMean(name)}`,
      );
    }
    case "unknown": {
      const [name = ""] = words;
      const also = name.startsWith("-") ? "" : didYouMean(name);
      throw new ExitError(
        1,
        `naru: unknown command: naru ${name}\n\nRun 'naru --help' for more information${also}`,
      );
    }
  }
}

function didYouMean(name: string): string {
  const known = [...commands.flatMap(({ names }) => names), ...Object.keys(groups)];
  const near = known
    .filter(
      (candidate) => candidate.includes(" ") === name.includes(" ") && !unbuilt.has(candidate),
    )
    .map((candidate) => ({ candidate, distance: editDistance(candidate, name) }))
    .filter(({ candidate, distance }) => distance <= 2 || candidate.startsWith(name))
    .toSorted((a, b) => a.distance - b.distance)
    .filter(({ distance }, _, [best]) => distance === best?.distance)
    .map(({ candidate }) => candidate);
  return near.length === 0 ? "" : `\n\nDid you mean this?\n${near.map((n) => `\t${n}`).join("\n")}`;
}
