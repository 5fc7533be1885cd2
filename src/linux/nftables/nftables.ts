/**
 * Changes to the kernel's packet filter, in nft's own language, as transactions: `apply` does all or nothing.
 *
 * The language and not JSON: libnftables 1.0.6 (Debian 12) crashes the process on a JSON rule that does dnat by
 * a map of address and port, and a change written as text takes 0.1 ms where JSON takes 0.8.
 * A command is trusted text: whoever writes one has parsed what goes into it.
 */

export interface Nftables extends Disposable {
  /** One transaction. @throws NftablesError */
  apply(commands: readonly string[]): void;
  /** What a `list` command answers: nft's JSON objects, `{ table: … }`, `{ rule: … }`. @throws NftablesError */
  list(command: string): Record<string, unknown>[];
  /** The same without what is in sets and maps. */
  outline(command: string): Record<string, unknown>[];
}

export type NftablesErrorCode = "ENOENT" | "EEXIST" | "EBUSY" | "EPERM" | "unknown";

const codes: readonly (readonly [string, NftablesErrorCode])[] = [
  ["No such file or directory", "ENOENT"],
  ["File exists", "EEXIST"],
  ["Device or resource busy", "EBUSY"],
  ["Operation not permitted", "EPERM"],
];

/** nft's refusal, in its own words. */
export class NftablesError extends Error {
  readonly code: NftablesErrorCode;

  constructor(commands: readonly string[], text: string) {
    // The program puts a place in front ("/dev/stdin:2:21-27: Error: …"), the library does not.
    const reason = text.trim().replace(/^\S+:\d+:[\d-]+: (?=Error)/, "") || "no reason given";
    super(`nft ${commands[0] ?? ""}${commands.length > 1 ? " …" : ""}: ${reason}`);
    this.name = "NftablesError";
    this.code = codes.find(([words]) => text.includes(words))?.[1] ?? "unknown";
  }
}

/** The objects of nft's JSON answer, without its metainfo. */
export function objectsIn(json: string): Record<string, unknown>[] {
  if (json.trim() === "") return [];
  const { nftables } = JSON.parse(json) as { nftables: Record<string, unknown>[] };
  return nftables.filter((object) => !("metainfo" in object));
}
