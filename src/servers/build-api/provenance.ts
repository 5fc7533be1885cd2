/**
 * Provenance: what was built from what and by whom, as BuildKit says it, in in-toto's form. Pure.
 * Sources: slsa.dev/spec/v0.2/provenance and v1.0; docs.docker.com/build/metadata/attestations/slsa-definitions.
 */
import { invalid } from "#base";
import type { BuildMaterial, Scan, Statement } from "#engine/build";
import { type Digest, formatPlatform, hostPlatform, parseReference, type Platform } from "#oci";

type Attributes = Readonly<Record<string, string>>;

export interface ProvenanceOptions {
  readonly mode: "min" | "max";
  readonly version: "v0.2" | "v1";
  readonly builderId: string;
  readonly isReproducible: boolean;
  /** Only where it goes into an image; not into folders. */
  readonly isInlineOnly: boolean;
}

/** What is known of one platform's build. */
export interface BuildFacts {
  readonly ref: string;
  readonly attributes: Attributes;
  readonly platform: Platform;
  readonly materials: readonly BuildMaterial[];
  readonly dockerfile: { readonly filename: string; readonly text: string };
  readonly layers: readonly Digest[];
  readonly startedAt: Date;
  readonly finishedAt: Date;
}

const BUILD_TYPE = "https://mobyproject.org/buildkit@v1";
const BUILD_TYPE_V1 =
  "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const METADATA = "https://mobyproject.org/buildkit@v1#metadata";
const HERMETIC = "https://mobyproject.org/buildkit@v1#hermetic";
const KNOWN = new Set([
  "mode",
  "version",
  "builder-id",
  "reproducible",
  "inline-only",
  "filename",
  "disabled",
]);

const isTrue = (text: string | undefined): boolean => /^(?:1|t|true)$/i.test(text ?? "");

/** Fields of an attestation that is asked for; one alone is true. */
export function attestFields(text: string): Map<string, string> {
  const fields = new Map(
    text
      .split(",")
      .filter((field) => field !== "")
      .map((field): [string, string] => {
        const cut = field.indexOf("=");
        return cut < 0 ? [field, "true"] : [field.slice(0, cut), field.slice(cut + 1)];
      }),
  );
  fields.delete("type");
  return fields;
}

/** Of `attest:provenance`, as `mode=max,version=v1`. @returns null where nobody wants any */
export function provenanceOptions(text: string | undefined): ProvenanceOptions | null {
  if (text === undefined) return null;
  const fields = attestFields(text);
  for (const name of fields.keys()) {
    if (!KNOWN.has(name)) throw invalid(`invalid parameter ${JSON.stringify(name)} of provenance`);
  }
  if (isTrue(fields.get("disabled"))) return null;
  const mode = fields.get("mode") ?? "min";
  // "full" is an old word for it.
  if (!["min", "max", "full", "disabled"].includes(mode)) {
    throw invalid(`invalid provenance type: "${mode}"`);
  }
  const version = fields.get("version") ?? "v0.2";
  if (version !== "v0.2" && version !== "v1") {
    throw invalid(`invalid provenance type: "${version}"`);
  }
  if (mode === "disabled") return null;
  return {
    mode: mode === "min" ? "min" : "max",
    version,
    builderId: fields.get("builder-id") ?? "",
    isReproducible: isTrue(fields.get("reproducible")),
    isInlineOnly: isTrue(fields.get("inline-only")),
  };
}

/** What a statement is about: the images that its names will mean. */
export interface Subject {
  readonly names: readonly string[];
  readonly digest: Digest;
}

/** One platform's provenance. */
export function provenanceOf(
  facts: BuildFacts,
  options: ProvenanceOptions,
  subject: Subject,
): Statement {
  const isOld = options.version === "v0.2";
  const predicate = isOld ? predicateV02(facts, options) : predicateV1(facts, options);
  const predicateType = `https://slsa.dev/provenance/${options.version}`;
  const said = { fileName: "provenance.json", predicateType, predicate, subjects: [] };
  return statementOf(said, facts.platform, subject);
}

/** What every build's record has: all that is known, of nothing in particular. */
export const wholeProvenance = (facts: BuildFacts) => ({
  predicateType: "https://slsa.dev/provenance/v0.2",
  predicate: predicateV02(facts, {
    mode: "max",
    version: "v0.2",
    builderId: "",
    isReproducible: false,
    isInlineOnly: true,
  }),
});

/** In in-toto's form; about the image where it is said of nothing else. */
export function statementOf(
  { fileName, predicateType, predicate, subjects }: Scan,
  platform: Platform,
  subject: Subject,
): Statement {
  const statement = {
    _type: "https://in-toto.io/Statement/v0.1",
    predicateType,
    subject: subjects.length > 0 ? subjects : subjectsOf(platform, subject),
    predicate,
  };
  const bytes = new TextEncoder().encode(JSON.stringify(statement));
  return { fileName, predicateType, isOfImage: subjects.length === 0, bytes };
}

function subjectsOf(platform: Platform, { names, digest }: Subject): object[] {
  const digests = digestSet(digest);
  if (names.length === 0) return [{ name: "_", digest: digests }];
  return names.map((name) => ({ name: packageUrl(name, platform), digest: digests }));
}

const digestSet = (digest: Digest): Record<string, string> => {
  const [algorithm = "sha256", hex = ""] = digest.split(":");
  return { [algorithm]: hex };
};

/** `pkg:docker/busybox@latest?platform=linux%2Famd64`. */
function packageUrl(name: string, platform: Platform): string {
  const { domain, path, tag } = parseReference(name);
  const short = domain === "docker.io" ? path.replace(/^library\//, "") : `${domain}/${path}`;
  const encoded = short.split("/").map(encodeURIComponent).join("/");
  return `pkg:docker/${encoded}@${tag ?? "latest"}?platform=${encodeURIComponent(formatPlatform(platform))}`;
}

/** Of an image that no registry has: `pkg:oci/base?digest=sha256:…&platform=linux%2Famd64`. */
const layoutUrl = ({ reference, digest, platform }: BuildMaterial): string =>
  `pkg:oci/${encodeURIComponent(reference)}?digest=${digest}&platform=${encodeURIComponent(formatPlatform(platform))}`;

const HOST_SPECIFIC = new Set(["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"]);
const PRIVATE = /^(?:build-arg|label):/;

interface Captured {
  readonly args: Attributes;
  readonly isWhole: boolean;
  readonly vcs: Attributes;
  readonly context: string;
  readonly entryPoint: string;
  readonly locals: readonly { name: string }[];
}

function capture({ attributes }: BuildFacts, { mode }: ProvenanceOptions): Captured {
  const contextKey = attributes["contextkey"] ?? "context";
  const context = attributes[contextKey] ?? "";
  const args: Record<string, string> = {};
  const vcs: Record<string, string> = {};
  let isWhole = true;
  for (const [name, value] of Object.entries(attributes)) {
    if (HOST_SPECIFIC.has(name) || name.startsWith("attest:") || name === "filename") continue;
    if (name === contextKey || name === "requestid") continue;
    if (name.startsWith("vcs:")) {
      if (value !== "") vcs[name.slice("vcs:".length)] = value;
    } else if (mode === "min" && PRIVATE.test(name)) isWhole = false;
    else args[name] = value;
  }
  const named = Object.values(attributes).flatMap((value) =>
    value.startsWith("local:") ? [value.slice("local:".length)] : [],
  );
  const own = context === "" ? ["context", "dockerfile"] : [];
  const locals = [...own, ...named].map((name) => ({ name }));
  const entryPoint = attributes["filename"] ?? "Dockerfile";
  return { args, isWhole, vcs, context, entryPoint, locals };
}

const materialsOf = ({ materials }: BuildFacts): object[] =>
  materials.map(({ reference, platform, digest, isLayout = false }) => ({
    uri: isLayout ? layoutUrl({ reference, digest, platform }) : packageUrl(reference, platform),
    digest: digestSet(digest),
  }));

/** What only `mode=max` tells: the Dockerfile, and which layers came out. */
function metadataOf(
  { dockerfile, layers }: BuildFacts,
  { mode }: ProvenanceOptions,
  { vcs }: Captured,
): object {
  const more = Object.keys(vcs).length === 0 ? {} : { vcs };
  if (mode === "min") return more;
  const { filename, text } = dockerfile;
  const data = Buffer.from(text).toString("base64");
  const mediaType = "application/vnd.oci.image.layer.v1.tar";
  return {
    ...more,
    source: { infos: [{ filename, language: "Dockerfile", data }] },
    layers: { result: [layers.map((digest) => ({ mediaType, digest, size: -1 }))] },
  };
}

function predicateV02(facts: BuildFacts, options: ProvenanceOptions): object {
  const captured = capture(facts, options);
  const { args, context, entryPoint, locals, isWhole } = captured;
  const source = context === "" ? {} : { uri: context };
  const metadata = metadataOf(facts, options, captured);
  return {
    builder: { id: options.builderId },
    buildType: BUILD_TYPE,
    materials: materialsOf(facts),
    invocation: {
      configSource: { ...source, entryPoint },
      parameters: {
        frontend: "dockerfile.v0",
        args,
        ...(locals.length === 0 ? {} : { locals }),
      },
      environment: { platform: formatPlatform(hostPlatform()) },
    },
    metadata: {
      buildInvocationID: facts.ref,
      buildStartedOn: facts.startedAt.toISOString(),
      buildFinishedOn: facts.finishedAt.toISOString(),
      completeness: { parameters: isWhole, environment: true, materials: false, [HERMETIC]: false },
      reproducible: options.isReproducible,
      [METADATA]: metadata,
    },
  };
}

function predicateV1(facts: BuildFacts, options: ProvenanceOptions): object {
  const captured = capture(facts, options);
  const { args, context, entryPoint, locals, isWhole } = captured;
  const source = context === "" ? {} : { uri: context };
  return {
    buildDefinition: {
      buildType: BUILD_TYPE_V1,
      externalParameters: {
        configSource: { ...source, path: entryPoint },
        request: { frontend: "dockerfile.v0", args, ...(locals.length === 0 ? {} : { locals }) },
      },
      internalParameters: { builderPlatform: formatPlatform(hostPlatform()) },
      resolvedDependencies: materialsOf(facts),
    },
    runDetails: {
      builder: { id: options.builderId },
      metadata: {
        invocationId: facts.ref,
        startedOn: facts.startedAt.toISOString(),
        finishedOn: facts.finishedAt.toISOString(),
        buildkit_metadata: metadataOf(facts, options, captured),
        buildkit_hermetic: false,
        buildkit_completeness: { request: isWhole, resolvedDependencies: false },
        buildkit_reproducible: options.isReproducible,
      },
    },
  };
}
