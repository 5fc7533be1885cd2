/** The manual says what the table of commands says. */
import { describe, expect, test } from "bun:test";

import { commands } from "../../src/clients/cli/commands/table.ts";
import { FILE_ONLY_KEYS, flags as daemonFlags } from "../../src/programs/daemon-flags.ts";
import { daemonPages, FILE_KEYS } from "../../tools/daemon-manual.ts";
import { manualPages } from "../../tools/manual-pages.ts";

const pages = new Map([...(await manualPages("1.0")), ...daemonPages("1.0")]);
const shown = commands.filter(({ hidden }) => hidden !== true);

describe("every command has a manual page under each of its names", () => {
  test.each(shown.flatMap(({ names }) => names))("%s", async (name) => {
    const text = pages.get(`naru-${name.replaceAll(" ", "-")}`) ?? "";
    const page = /^\.so man1\/(.*)\.1\n$/.exec(text)?.[1];
    const own = page === undefined ? text : (pages.get(page) ?? "");
    const entry = shown.find(({ names }) => names.includes(name));
    const { flags = [] } = (await entry?.load()) ?? {};
    for (const { name: flag, hidden } of flags) {
      if (hidden !== true) expect(own).toContain(`\\-\\-${flag.replaceAll("-", "\\-")}`);
    }
    expect(own).toContain(".SH DESCRIPTION\n");
  });
});

test("the daemon's pages name every flag and every key of its file", () => {
  const escaped = (text: string) => text.replaceAll("-", "\\-");
  const program = pages.get("man8/naru-daemon.8");
  const file = pages.get("man5/naru-daemon.json.5");
  for (const { name, key } of daemonFlags) {
    expect(program).toContain(escaped(`--${name}`));
    if (key !== null) expect(file).toContain(`.B ${escaped(key)} (`);
  }
  for (const key of FILE_ONLY_KEYS) expect(FILE_KEYS).toHaveProperty([key]);
});

test("no text of a page becomes a request of roff", () => {
  const requests = /^\.(?:TH|SH|TP|BR?|br|nf|fi|so)\b/;
  for (const [, text] of pages) {
    for (const line of text.split("\n")) {
      if (/^[.']/.test(line)) expect(line).toMatch(requests);
    }
  }
});
