/**
 * Writes the manual pages of the naru command line, made of the one table of commands: naru.1, one page for each
 * command under its short name (naru-run.1), and for each other name of it (naru-container-run.1) one that points there.
 *
 *   bun tools/manual-pages.ts DIRECTORY [VERSION]
 *
 * The same table makes the same pages: they carry no date.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { CommandEntry } from "../src/clients/cli/commands/command.ts";
import { commands, groups } from "../src/clients/cli/commands/table.ts";
import { globalFlags } from "../src/clients/cli/config/global-flags.ts";
import type { FlagSpec } from "../src/clients/cli/flags/spec.ts";
import { flagParts } from "../src/clients/cli/help.ts";

/** Page name without section, and its roff text. */
type Page = readonly [name: string, text: string];

const pageOf = (name: string): string => `naru-${name.replaceAll(" ", "-")}`;

/** A text as roff reads it: no line becomes a request, and a hyphen stays one that can be copied. */
export const roff = (text: string): string =>
  text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll(/^([.'])/gm, "\\&$1");

const heading = (page: string, version: string, about: string): string =>
  `.TH ${roff(page.toUpperCase())} 1 "" "naru ${version}" "Naru manual"\n.SH NAME\n${roff(page)} \\- ${roff(about)}\n`;

function options(title: string, specs: readonly FlagSpec[]): string {
  const shown = specs.filter(({ hidden }) => hidden !== true);
  if (shown.length === 0) return "";
  const items = shown
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .map((spec) => {
      const { left, usage } = flagParts(spec);
      return `.TP\n.B ${roff(left.trim())}\n${roff(usage)}\n`;
    });
  return `.SH ${title}\n${items.join("")}`;
}

const list = (pairs: readonly (readonly [string, string])[]): string =>
  pairs.map(([name, about]) => `.TP\n.BR ${roff(name)} (1)\n${roff(about)}\n`).join("");

async function commandPages(entry: CommandEntry, version: string): Promise<Page[]> {
  const own = entry.names.at(-1) ?? "";
  const page = pageOf(own);
  const { flags } = await entry.load();
  const others = entry.names.filter((name) => name !== own);
  const usage = entry.usage.split("\n").map((line) => line.replace(/^\t*naru \w+ /, ""));
  const synopsis = usage
    .map((line) => `.B naru ${roff(own)}\n${roff(line)}\n`)
    .join(".br\n")
    .replaceAll("\n\n", "\n");
  const text = [
    heading(page, version, entry.short),
    `.SH SYNOPSIS\n${synopsis}`,
    `.SH DESCRIPTION\n.nf\n${roff(entry.long ?? entry.short)}\n.fi\n`,
    others.length === 0 ? "" : `.SH ALIASES\n${others.map((name) => `naru ${name}`).join(", ")}\n`,
    options("OPTIONS", flags),
    entry.examples === undefined
      ? ""
      : `.SH EXAMPLES\n.nf\n${entry.examples.map(roff).join("\n")}\n.fi\n`,
    ".SH SEE ALSO\n.BR naru (1)\nfor the options that go before the command\n",
  ];
  const links = others.map((name): Page => [pageOf(name), `.so man1/${page}.1\n`]);
  return [[page, text.join("")], ...links];
}

function groupPage(group: string, about: string, version: string): Page {
  const page = pageOf(group);
  const inside = commands.flatMap(({ names, short, hidden }) => {
    const name = names.find((candidate) => candidate.startsWith(`${group} `));
    return name === undefined || hidden === true ? [] : [[pageOf(name), short] as const];
  });
  const synopsis = `.SH SYNOPSIS\n.B naru ${roff(group)}\nCOMMAND\n`;
  return [page, `${heading(page, version, about)}${synopsis}.SH COMMANDS\n${list(inside)}`];
}

const pairs = (list: Readonly<Record<string, string>>): string =>
  Object.entries(list)
    .map(([name, about]) => `.TP\n.B ${roff(name)}\n${roff(about)}\n`)
    .join("");

const EXIT_STATUS = {
  "0": "It was done.",
  "1": "It failed; the last lines on standard error say why.",
  "64": "A --format template cannot be read.",
  "125": "run: the engine refused. Any command: flags that are wrong.",
  "126": "run, exec: the command cannot be run.",
  "127": "run, exec: there is no such command.",
  "128+n":
    "Signal n ended the command: 137 is SIGKILL, and also what a full memory limit ends with.",
  others: "run, exec, start -a: what the command itself ended with.",
};

const ENVIRONMENT = {
  DOCKER_HOST: "The engine: unix:///path, tcp://host:port, ssh://host. --host goes before it.",
  DOCKER_CONTEXT: "The context in use, where no host is named.",
  DOCKER_CONFIG: "The folder of config.json and contexts, ~/.docker unless set.",
  DOCKER_API_VERSION: "The version of the API that is spoken.",
  DOCKER_CERT_PATH: "The folder of ca.pem, cert.pem and key.pem.",
  DOCKER_TLS_VERIFY: "Not empty: TLS, and the engine's certificate is verified.",
  DOCKER_DEFAULT_PLATFORM: "The platform of commands that take --platform.",
  DOCKER_CUSTOM_HEADERS: "More headers of every request.",
  NO_COLOR: "Not empty: no colours.",
};

function programPage(version: string): Page {
  const shown = commands.flatMap(({ names, short, hidden }) => {
    const name = names.at(-1) ?? "";
    return name.includes(" ") || hidden === true ? [] : [[pageOf(name), short] as const];
  });
  const management = Object.entries(groups).map(([name, about]) => [pageOf(name), about] as const);
  const text = [
    heading("naru", version, "run and look after containers"),
    ".SH SYNOPSIS\n.B naru\n[OPTIONS] COMMAND [ARG...]\n",
    ".SH DESCRIPTION\nA container engine behind Docker's API. The commands and their output are those of docker.\n",
    options("OPTIONS", globalFlags()),
    `.SH COMMANDS\n${list([...shown, ...management].toSorted(([one], [other]) => (one < other ? -1 : 1)))}`,
    `.SH EXIT STATUS\n${pairs(EXIT_STATUS)}`,
    `.SH ENVIRONMENT\n${pairs(ENVIRONMENT)}`,
    ".SH SEE ALSO\n.BR naru\\-daemon (8)\n",
  ];
  return ["naru", text.join("")];
}

/** Every page of section 1. */
export async function manualPages(version: string): Promise<Page[]> {
  const shown = commands.filter(({ hidden }) => hidden !== true);
  const pages = await Promise.all(shown.map((entry) => commandPages(entry, version)));
  const managed = Object.entries(groups).map(([name, about]) => groupPage(name, about, version));
  return [programPage(version), ...managed, ...pages.flat()];
}

if (import.meta.main) {
  const [directory = "dist/man", version = ""] = process.argv.slice(2);
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of await manualPages(version)) {
    writeFileSync(join(directory, `${name}.1`), text);
  }
}
