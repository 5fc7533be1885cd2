/** The manual says what the table of commands says. */
import { describe, expect, test } from "bun:test";

import { commands } from "../../src/clients/cli/commands/table.ts";
import { manualPages } from "../../tools/manual-pages.ts";

const pages = new Map(await manualPages("1.0"));
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

test("no text of a page becomes a request of roff", () => {
  const requests = /^\.(?:TH|SH|TP|BR?|br|nf|fi|so)\b/;
  for (const [, text] of pages) {
    for (const line of text.split("\n")) {
      if (/^[.']/.test(line)) expect(line).toMatch(requests);
    }
  }
});
