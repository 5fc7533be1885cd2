/**
 * `attest:sbom`: which image looks at a build's results, and what it is told. Its statements are said of the images
 * beside their provenance. Source: moby/buildkit, docs/attestations/sbom-protocol.md.
 */
import { invalid, wrap } from "#base";
import type { Scanned } from "#engine/build";
import { formatPlatform, formatReference, parseReference, withDefaultTag } from "#oci";

import type { JobResult } from "./jobs.ts";
import { attestFields } from "./provenance.ts";
import type { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

type Attributes = Readonly<Record<string, string>>;

export interface ScannerOptions {
  /** Whole. */
  readonly image: string;
  readonly parameters: Attributes;
}

/** BuildKit's own choice. */
const DEFAULT_GENERATOR = "docker/buildkit-syft-scanner:stable-1";
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

/** Of `attest:sbom`, as `generator=image,key=value`. @returns null where nobody wants any */
export function scannerOptions(text: string | undefined): ScannerOptions | null {
  if (text === undefined) return null;
  const fields = attestFields(text);
  if (/^(?:1|t|true)$/i.test(fields.get("disabled") ?? "")) return null;
  fields.delete("disabled");
  const generator = fields.get("generator") ?? DEFAULT_GENERATOR;
  fields.delete("generator");
  if (generator === "") throw invalid("sbom generator cannot be empty");
  for (const name of fields.keys()) {
    if (!NAME.test(name)) throw invalid(`invalid parameter ${JSON.stringify(name)} of sbom`);
  }
  try {
    const image = formatReference(withDefaultTag(parseReference(generator)));
    return { image, parameters: Object.fromEntries(fields) };
  } catch (cause) {
    throw wrap(`failed to parse sbom generator ${generator}`, cause);
  }
}

/** Has one result looked at. @throws StepFailed where the scanner ended badly */
export async function scanResult(
  { solved }: JobResult,
  { image, parameters }: ScannerOptions,
  at: {
    readonly session: () => Promise<Session>;
    readonly progress: Progress;
    readonly signal: AbortSignal;
  },
): Promise<Scanned> {
  const { progress, signal } = at;
  const client = await at.session();
  const name = `[${formatPlatform(solved.platform)}] generating sbom using ${image}`;
  return await progress.during(name, (_done, shown) =>
    solved.scan({
      image,
      parameters,
      credentials: (domain) => client.credentials(domain, signal),
      onOutput: (text, stderr) => shown.output(text, stderr),
      onCached: () => shown.cached(),
      signal,
    }),
  );
}
