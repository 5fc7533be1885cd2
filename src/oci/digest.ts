/** Content digests. Spec: OCI image-spec 1.1, descriptor.md, "Digests". */
import { EngineError } from "#base";

/** `sha256:` and 64 lower-case hexadecimal digits: the only algorithm Docker's world uses. */
export type Digest = `sha256:${string}`;

const PATTERN = /^sha256:[a-f0-9]{64}$/;

export const isDigest = (text: string): text is Digest => PATTERN.test(text);

/** @throws EngineError "invalid", in the words of the distribution library */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const algorithm = text.split(":", 1)[0] ?? "";
  const known = algorithm === "sha256" || !text.includes(":");
  throw new EngineError(
    "invalid",
    known ? "invalid checksum digest format" : "unsupported digest algorithm",
  );
}

/** The digits after `sha256:`. */
export const digestHex = (digest: Digest): string => digest.slice("sha256:".length);

/** The digest of bytes already in memory. */
export const digestOf = (bytes: Uint8Array | string): Digest =>
  `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;

/**
 * The id of a stack of layers: the digest of the parent's chain id and the next diff id.
 * Spec: OCI image-spec 1.1, config.md, "Layer ChainID".
 */
export function chainIdOf(diffIds: readonly Digest[]): Digest {
  const [first, ...rest] = diffIds;
  if (first === undefined) throw new EngineError("internal", "an empty stack has no chain id");
  return rest.reduce<Digest>((parent, diffId) => digestOf(`${parent} ${diffId}`), first);
}
