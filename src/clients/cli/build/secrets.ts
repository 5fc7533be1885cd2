/** `--secret`: what a build may see, but never keeps. */
import { readFileSync } from "node:fs";

import { invalid } from "#base";

import type { Environment } from "../config/session.ts";
import { csvFields, keyValue } from "../options/csv.ts";

/** `id=key,src=file`, `id=key,env=NAME`, or a file of the id's name or a variable of it. */
export function readSecrets(
  texts: readonly string[],
  environment: Environment,
): Map<string, Uint8Array> {
  return new Map(texts.map((text) => readSecret(text, environment)));
}

function readSecret(text: string, environment: Environment): [string, Uint8Array] {
  let [id, path, variable, type] = ["", "", "", ""];
  for (const field of csvFields(text)) {
    const [key, value] = keyValue(field);
    if (value === undefined) {
      throw invalid(`invalid field '${field}' must be a key=value pair`);
    }
    if (key === "id") id = value;
    else if (key === "src" || key === "source") path = value;
    else if (key === "env") variable = value;
    else if (key === "type" && (value === "file" || value === "env")) type = value;
    else throw invalid(`unexpected key '${key}' in '${field}'`);
  }
  if (id === "") id = path !== "" ? path : variable;
  if (type === "env" && variable === "") variable = path !== "" ? path : id;
  const isVariable =
    variable !== "" || (type === "" && path === "" && environment[id] !== undefined);
  if (isVariable) {
    const value = environment[variable === "" ? id : variable];
    if (value === undefined)
      throw invalid(`secret ${id}: environment variable ${variable} is not set`);
    return [id, Buffer.from(value)];
  }
  try {
    return [id, readFileSync(path === "" ? id : path)];
  } catch (cause) {
    const name = path === "" ? id : path;
    throw invalid(`failed to stat ${name}: stat ${name}: no such file or directory`, { cause });
  }
}
