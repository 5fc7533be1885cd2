/**
 * Values of flags as Go's and Docker's libraries read them, with their error sentences: booleans, numbers, durations,
 * sizes, decimals of CPUs. Every function throws an Error whose message ends up in `invalid argument … for … flag: …`.
 */

const TRUE = new Set(["1", "t", "T", "TRUE", "true", "True"]);
const FALSE = new Set(["0", "f", "F", "FALSE", "false", "False"]);

export function parseBool(text: string): boolean {
  if (TRUE.has(text)) return true;
  if (FALSE.has(text)) return false;
  throw new Error(`strconv.ParseBool: parsing ${quote(text)}: invalid syntax`);
}

/** Go's %q for what people type. */
export const quote = (text: string): string => JSON.stringify(text);

/** A whole number in Go's notation (base 0: 0x, 0o, 0b and underscores too). */
export function parseInteger(
  text: string,
  range: { min: bigint; max: bigint; unsigned?: boolean },
): number {
  const name = range.unsigned === true ? "ParseUint" : "ParseInt";
  const value = bigintOf(text, range.unsigned !== true);
  if (value === undefined)
    throw new Error(`strconv.${name}: parsing ${quote(text)}: invalid syntax`);
  if (value < range.min || value > range.max) {
    throw new Error(`strconv.${name}: parsing ${quote(text)}: value out of range`);
  }
  return Number(value);
}

export const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n } as const;
export const UINT16 = { min: 0n, max: 65535n, unsigned: true } as const;
export const UINT64 = { min: 0n, max: 2n ** 64n - 1n, unsigned: true } as const;

function bigintOf(text: string, signed: boolean): bigint | undefined {
  const match = (signed ? /^([+-]?)(.+)$/ : /^()(.+)$/).exec(text);
  const digits = match?.[2]?.replaceAll("_", "") ?? "";
  const known =
    /^(?:0|[1-9]\d*|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.test(digits) ||
    /^0[0-7]+$/.test(digits);
  if (!known) return undefined;
  const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits);
  return match?.[1] === "-" ? -value : value;
}

const SIZE_LETTERS = "kmgtp";

/** A size with a binary unit (`64m`, `1.5GiB`, `512`) in bytes, as docker/go-units reads memory. */
export function parseBytes(text: string): number {
  const end = text.search(/[\d. ][^\d. ]*$/);
  if (end < 0) throw new Error(`invalid size: '${text}'`);
  const number = text.slice(0, text[end] === " " ? end : end + 1);
  const suffix = text.slice(end + 1).toLowerCase();
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(number)) {
    throw new Error(`strconv.ParseFloat: parsing ${quote(number)}: invalid syntax`);
  }
  const size = Number(number);
  if (size < 0) throw new Error(`invalid size: '${text}'`);
  if (!/^(?:|b|[kmgtp](?:i?b)?)$/.test(suffix)) throw new Error(`invalid suffix: '${suffix}'`);
  const power = SIZE_LETTERS.indexOf(suffix[0] ?? "") + 1;
  return Math.trunc(size * 1024 ** (suffix === "" ? 0 : power));
}

/** A number of CPUs (`1.5`, `1/2`) in billionths. */
export function parseNanoCpus(text: string): number {
  const match = /^[+-]?(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3}))?(?:\/(\d+))?$/.exec(text);
  if (match === null || match[3] === "0") {
    throw new Error(`failed to parse ${text} as a rational number`);
  }
  const [head = "0", denominator = "1"] = text.split("/");
  const nano = (Number(head) * 1e9) / Number(denominator);
  if (Math.abs(nano - Math.round(nano)) > 1e-3) throw new Error("value is too precise");
  return Math.round(nano);
}
