/** One line of comma-separated fields as Go's encoding/csv reads it: what `--mount` and `--network` are made of. */
export function csvFields(text: string): string[] {
  if (text === "") throw new Error("EOF");
  const fields: string[] = [];
  let rest = text;
  for (;;) {
    if (rest.startsWith('"')) {
      const match = /^"((?:[^"]|"")*)"(,|$)/.exec(rest);
      if (match === null)
        throw new Error(`parse error on line 1: extraneous or missing " in quoted-field`);
      fields.push((match[1] ?? "").replaceAll('""', '"'));
      rest = rest.slice(match[0].length);
      if (match[2] === "") return fields;
      continue;
    }
    const comma = rest.indexOf(",");
    const field = comma < 0 ? rest : rest.slice(0, comma);
    if (field.includes('"')) throw new Error(`parse error on line 1: bare " in non-quoted-field`);
    fields.push(field);
    if (comma < 0) return fields;
    rest = rest.slice(comma + 1);
  }
}

/** `key=value` in two; the value is undefined where there is no `=`. */
export function keyValue(field: string): [string, string | undefined] {
  const equals = field.indexOf("=");
  return equals < 0 ? [field, undefined] : [field.slice(0, equals), field.slice(equals + 1)];
}
