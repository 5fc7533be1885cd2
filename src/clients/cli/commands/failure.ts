/** The sentence of a failure as a person should read it, with the fix where there is one. */
import { sentenceOf } from "#base";
import { ApiError, ConnectionError } from "#clients/api-client";

/** What `inspect` says of a name that nothing has. */
export const NO_SUCH_OBJECT = "No such object: ";

/** A name that nothing has: of what kind it should have been, and what was typed. */
export interface MissingName {
  readonly kind: "container" | "image" | "volume" | "network" | "object";
  readonly name: string;
}

const missing: MissingName[] = [];

/** What this run of the program did not find, of the failures that were told. */
export const missingNames = (): readonly MissingName[] => missing;

/** One that the engine's sentence does not tell: of an image that was asked for, then pulled in vain. */
export const noteMissing = (name: MissingName): void => void missing.push(name);

export function messageFor(thrown: unknown): string {
  const sentence = sentenceOf(thrown);
  const name = missingNameIn(sentence);
  if (name !== null) missing.push(name);
  if (thrown instanceof ApiError) return `Error response from daemon: ${thrown.message}`;
  if (thrown instanceof ConnectionError && thrown.failure === "permission") {
    const path = thrown.endpoint.replace("unix://", "");
    return `${thrown.message}: connect: permission denied
Run it as root, or join the group that owns the socket: 'ls -l ${path}' shows which, 'sudo usermod -aG GROUP $USER' joins it from the next login on.`;
  }
  return sentence;
}

/** Pure: what Docker's sentence says is not there. */
export function missingNameIn(sentence: string): MissingName | null {
  const thing = /\bNo such (container|image|object): (\S+)$/.exec(sentence);
  if (thing !== null) {
    const [, kind = "object", name = ""] = thing;
    return { kind: kind as MissingName["kind"], name };
  }
  const volume = /\bget (\S+): no such volume$/.exec(sentence)?.[1];
  if (volume !== undefined) return { kind: "volume", name: volume };
  const network = /\bnetwork (\S+) not found$/.exec(sentence)?.[1];
  return network === undefined ? null : { kind: "network", name: network };
}
