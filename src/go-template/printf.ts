/** Go's fmt.Sprintf for what templates hold: %s %v %d %q %x %X %o %b %t %f %e %g %c %U %T %%, with flags and widths. */
import { printNumber, printValue, typeName, type Value } from "./values.ts";

const VERB = /%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d+)?)?([a-zA-Z%])/g;

export function formatPrintf(format: string, args: readonly Value[]): string {
  let used = 0;
  const take = (): Value => args[used++];
  const result = format.replaceAll(
    VERB,
    (
      whole: string,
      flags: string,
      width: string | undefined,
      precision: string | undefined,
      verb: string,
    ) => {
      if (verb === "%") return "%";
      const wide = width === "*" ? Number(take()) : Number(width ?? 0);
      const digits = precision === "*" ? Number(take()) : precision;
      const exact = whole.includes(".") ? Number(digits ?? 0) : undefined;
      if (used >= args.length) return `%!${verb}(MISSING)`;
      const value = take();
      const shown = formatOne(verb, value, { flags, precision: exact });
      return pad(shown, wide, flags, typeof value === "number");
    },
  );
  if (used >= args.length) return result;
  const extra = args.slice(used).map((value) => `${typeName(value)}=${printValue(value, true)}`);
  return `${result}%!(EXTRA ${extra.join(", ")})`;
}

interface Style {
  readonly flags: string;
  readonly precision: number | undefined;
}

function formatOne(verb: string, value: Value, style: Style): string {
  const wrong = () => `%!${verb}(${typeName(value)}=${printValue(value, true)})`;
  switch (verb) {
    case "v":
      return printValue(value, true);
    case "T":
      return typeName(value);
    case "t":
      return typeof value === "boolean" ? String(value) : wrong();
    case "s":
      if (typeof value === "number" || typeof value === "boolean") return wrong();
      return cut(printValue(value, true), style.precision);
    case "q":
      return typeof value === "string" ? JSON.stringify(cut(value, style.precision)) : wrong();
    case "x":
    case "X":
      if (typeof value === "string") {
        const hex = new TextEncoder().encode(value).toHex();
        return verb === "X" ? hex.toUpperCase() : hex;
      }
      return typeof value === "number" ? formatNumber(verb, value, style) : wrong();
    default:
      return typeof value === "number" ? (numberOr(verb, value, style) ?? wrong()) : wrong();
  }
}

const cut = (text: string, precision: number | undefined): string =>
  precision === undefined ? text : Array.from(text).slice(0, precision).join("");

function numberOr(verb: string, value: number, style: Style): string | undefined {
  return "dobcUfFeEgG".includes(verb) ? formatNumber(verb, value, style) : undefined;
}

const INTEGER_BASES: Readonly<Record<string, number>> = { d: 10, o: 8, b: 2, x: 16, X: 16 };

function formatNumber(verb: string, value: number, { flags, precision }: Style): string {
  const sign = flags.includes("+") && value >= 0 ? "+" : "";
  const base = INTEGER_BASES[verb];
  if (base !== undefined) {
    if (!Number.isInteger(value)) return `%!${verb}(float64=${printNumber(value)})`;
    const digits = BigInt(value).toString(base);
    return sign + (verb === "X" ? digits.toUpperCase() : digits);
  }
  switch (verb) {
    case "c":
      return String.fromCodePoint(value);
    case "U":
      return `U+${value.toString(16).toUpperCase().padStart(4, "0")}`;
    case "f":
    case "F":
      return sign + value.toFixed(precision ?? 6);
    case "e":
    case "E":
      return sign + value.toExponential(precision ?? 6).replace(/e([+-])(\d)$/, "e$10$2");
    default:
      return (
        sign +
        (precision === undefined
          ? printNumber(value)
          : String(Number(value.toPrecision(precision || 1))))
      );
  }
}

function pad(text: string, width: number, flags: string, numeric: boolean): string {
  const missing = width - Array.from(text).length;
  if (missing <= 0) return text;
  if (flags.includes("-")) return text + " ".repeat(missing);
  if (!flags.includes("0") || !numeric) return " ".repeat(missing) + text;
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}
