/** `RUN --device=…`: a device of the Container Device Interface, by its whole name. Sentences are BuildKit's. */
import { invalid } from "#base";

import type { RunDevice } from "./instruction.ts";
import { suggestion } from "./suggest.ts";
import { csvFields } from "./words.ts";
import { parseBool } from "./mount.ts";

/** `vendor.com/class=name[,required]` or `name=…,required=true`. @throws EngineError "invalid" */
export function parseDevice(text: string): RunDevice {
  let name = "";
  let required = false;
  for (const field of csvFields(text, "devices")) {
    const at = field.indexOf("=");
    const key = (at < 0 ? field : field.slice(0, at)).toLowerCase();
    const value = at < 0 ? "" : field.slice(at + 1);
    if (key === "required") required = at < 0 || parseBool(key, value);
    else if (key === "name" && at >= 0) {
      if (name !== "") throw invalid(`device name already set to ${name}`);
      name = value;
    } else if (name === "") name = field;
    else if (at < 0) throw invalid(`invalid field '${field}' must be a key=value pair`);
    else {
      const near = suggestion(key, ["name", "required"]);
      throw invalid(`unexpected key '${key}' in '${field}'${near}`);
    }
  }
  return { name, required };
}
