/** Reading the configuration's JSON: shapes that more than one of its readers ask for. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
