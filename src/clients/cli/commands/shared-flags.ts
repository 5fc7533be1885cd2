/** Flags that many commands have in the same words. */
import type { FlagSpec } from "../flags/spec.ts";
import { checkFilter } from "../options/checks.ts";
import { FORMAT_USAGE } from "../output/formatter.ts";

export const FILTER_FLAG: FlagSpec = {
  name: "filter",
  shorthand: "f",
  kind: "list",
  shown: "filter",
  usage: "Filter output based on conditions provided",
  check: checkFilter,
};

/** Ours: the API's own JSON, one document for a list, one line each for a stream. */
export const JSON_FLAG: FlagSpec = {
  name: "json",
  kind: "bool",
  usage: "Print the API's answer as JSON",
};

export const FORMAT_FLAG: FlagSpec = {
  name: "format",
  shorthand: "f",
  kind: "string",
  usage: FORMAT_USAGE,
};

export const PLATFORM_FLAG: FlagSpec = {
  name: "platform",
  kind: "string",
  usage: "Set platform if server is multi-platform capable",
};

/** Docker's flag for signed images: only its "off" is true here. */
export const CONTENT_TRUST_FLAG: FlagSpec = {
  name: "disable-content-trust",
  kind: "bool",
  usage: "Skip image verification",
  fallback: true,
  check: (value) => {
    if (/^(?:0|f|false)$/i.test(value)) throw new Error("content trust is not implemented");
    return value;
  },
};
