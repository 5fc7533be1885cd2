/** What a 401 asks for. Spec: RFC 7235, section 4.1: several challenges may share one header. */

export interface Challenge {
  /** In lower case: "basic", "bearer". */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const HEADER_LIMIT = 8192;
/** A scheme, or `name=value` with the value bare or quoted, with what separates them. */
const PIECE =
  /\s*,?\s*(?:([!#$%&'*+.^_`|~\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([!#$%&'*+.^_`|~\w-]+))/y;

export function challengesOf(response: Response): Challenge[] {
  const header = response.headers.get("www-authenticate") ?? "";
  if (header.length > HEADER_LIMIT) return [];
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  PIECE.lastIndex = 0;
  for (let match = PIECE.exec(header); match; match = PIECE.exec(header)) {
    const [, name, quoted, bare, scheme] = match;
    if (scheme !== undefined) {
      challenges.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
    } else if (name !== undefined) {
      const value = quoted === undefined ? bare : quoted.replaceAll(/\\(.)/g, "$1");
      challenges.at(-1)?.parameters.set(name.toLowerCase(), value ?? "");
    }
  }
  return challenges;
}
