/** Cutting texts to what a table has room for. */

const ELLIPSIS = "…";

/** At most `width` columns, the last one an ellipsis when something was cut. */
export function truncate(text: string, width: number): string {
  const characters = Array.from(text);
  if (width <= 0) return "";
  if (Bun.stringWidth(text) <= width) return text;
  let used = 0;
  let kept = "";
  for (const character of characters) {
    const columns = Bun.stringWidth(character);
    if (used + columns > width - 1) break;
    used += columns;
    kept += character;
  }
  return kept + ELLIPSIS;
}

/** `sha256:0123456789ab…` as `0123456789ab`. */
export const shortImageId = (id: string): string => id.replace(/^sha256:/, "").slice(0, 12);
