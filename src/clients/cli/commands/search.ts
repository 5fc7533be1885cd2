/** `naru search`. */
import { searchImages } from "#clients/api-client";
import { Row } from "#go-template";

import { credentialsFor } from "../config/credentials.ts";
import { filtersOf } from "../options/checks.ts";
import { authKey } from "../options/reference.ts";
import { listFormatter } from "../output/formatter.ts";
import { truncate } from "../output/text.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";

const TABLE = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
const HEADERS = {
  Name: "NAME",
  Description: "DESCRIPTION",
  StarCount: "STARS",
  IsOfficial: "OFFICIAL",
};
const DESCRIPTION_WIDTH = 45;

export const search: Command = {
  flags: [
    FILTER_FLAG,
    { name: "format", kind: "string", usage: "Pretty-print search using a Go template" },
    JSON_FLAG,
    { name: "limit", kind: "int", usage: "Max number of search results" },
    { name: "no-trunc", kind: "bool", usage: "Don't truncate output" },
  ],
  async run({ flags, args, session }) {
    const [term = ""] = args;
    const format = flags.string("format");
    const render = listFormatter({ format, table: TABLE, headers: HEADERS });
    const results = await searchImages(await session.client(), {
      term,
      limit: flags.number("limit") || undefined,
      filters: filtersOf(flags.list("filter")),
      auth: await credentialsFor(session.config, authKey(domainOf(term))),
    });
    if (flags.bool("json")) {
      printLine(JSON.stringify(results));
      return 0;
    }
    const asJson = format === "json" || /\{\{\s*json\b/.test(format);
    const truncated = !flags.bool("no-trunc");
    const rows = results.map(
      (one) =>
        new Row("*formatter.searchContext", {
          Description: () => {
            const text = one.description.replaceAll(/[\n\r]/g, " ");
            return truncated ? truncate(text, DESCRIPTION_WIDTH) : text;
          },
          // As docker: a mark for people, a word in JSON.
          IsOfficial: () => (asJson ? String(one.is_official) : one.is_official ? "[OK]" : ""),
          Name: () => one.name,
          StarCount: () => String(one.star_count),
        }),
    );
    print(render(rows));
    return 0;
  },
};

/** As the engine reads it: a first part with a dot or a port is a registry. */
function domainOf(term: string): string {
  const [first = "", ...rest] = term.split("/");
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  return isHost ? first : "docker.io";
}
