/** `--platform` where the API takes it as a JSON document. */

/** `linux/arm64/v8` as `{"os":"linux","architecture":"arm64","variant":"v8"}`; undefined for "". */
export function platformDocument(text: string): string | undefined {
  if (text === "") return undefined;
  const [os, architecture, variant] = text.split("/");
  return JSON.stringify({ os, architecture, ...(variant === undefined ? {} : { variant }) });
}
