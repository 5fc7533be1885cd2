/**
 * Lists as docker prints them: a table with headers, `json`, or the user's template, one row a line.
 */
import { invalid } from "#base";

import { asMap, compileTemplate, markMaps, Row, TemplateError, type Template } from "#go-template";

import { alignColumns } from "./table.ts";

export interface Listing {
  /** What the user asked for; "" is the default table. */
  readonly format: string;
  /** The template behind `table` alone: `table {{.ID}}\t{{.Names}}`. */
  readonly table: string;
  /** The template behind `raw`, where docker has one. */
  readonly raw?: string;
  /** The column titles by field. */
  readonly headers: Readonly<Record<string, string>>;
  /** `ps` has sentences of its own for templates that are wrong. */
  readonly sentences?: "ps";
}

/** Docker's words for the flag. */
export const FORMAT_LIST_USAGE = `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`;
export const FORMAT_USAGE = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`;

/**
 * Makes the text of a list from its rows. The template is read at once, so that a wrong one costs no request.
 * @throws EngineError "invalid" for a template that cannot be read (now) or run (later)
 */
export function listFormatter(listing: Listing): (rows: readonly Row[]) => string {
  const { source, table } = resolve(listing);
  const prefix = (step: string) =>
    listing.sentences === "ps" ? `failed to ${step} template` : "template parsing error";
  const template = guarded(prefix("parse"), () => compileTemplate(source));
  return (rows) =>
    guarded(prefix("execute"), () => {
      const lines = rows.map((row) => `${template.execute(row)}\n`);
      if (!table) return lines.join("");
      const titles = template.execute(headerRow(listing.headers), headerFunctions);
      return alignColumns([`${titles}\n`, ...lines].join(""));
    });
}

function guarded<T>(prefix: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw invalid(`${prefix}: ${cause.message}`, { cause });
  }
}

function resolve(listing: Listing): { source: string; table: boolean } {
  const format = listing.format || "table";
  if (format === "json") return { source: "{{json .}}", table: false };
  if (format === "raw" && listing.raw !== undefined) return { source: listing.raw, table: false };
  const whole = format === "table" ? listing.table : format;
  const table = /^table(?:\s|$)/.test(whole) || whole.startsWith("table");
  const source = (table ? whole.slice("table".length) : whole).replace(/^ +| +$/g, "");
  return { source: source.replaceAll("\\t", "\t").replaceAll("\\n", "\n"), table };
}

/** The titles are made by running the template on them; what a column does to its values leaves its title alone. */
function headerRow(headers: Readonly<Record<string, string>>): object {
  const label = (name: unknown) => (String(name).split(".").at(-1) ?? "").replaceAll(/[-_]/g, " ");
  return asMap({ ...headers, Label: label });
}

const same = (value: unknown): unknown => value;

const headerFunctions = {
  json: same,
  split: same,
  join: same,
  title: same,
  lower: same,
  upper: same,
  pad: same,
  truncate: same,
};

/**
 * What `--quiet` prints of a list: ids alone.
 * @param label stands before each of them in the raw format: `image_id`
 * @returns undefined where a template of the person's own counts more
 */
export function quietText(
  rows: readonly Row[],
  { format, label }: { format: string; label: string },
): string | undefined {
  if (!["", "table", "raw"].includes(format)) return undefined;
  const prefix = format === "raw" ? `${label}: ` : "";
  return rows.map(({ fields }) => `${prefix}${(fields["ID"] as () => string)()}\n`).join("");
}

/** A template for one thing (`inspect`, `version`, `info`, `events`). @throws TemplateError */
export function compileFormat(format: string, name = ""): (data: unknown) => string {
  const template: Template = compileTemplate(format === "json" ? "{{json .}}" : format, name);
  return (data) => template.execute(data instanceof Row ? data : markMaps(data));
}
