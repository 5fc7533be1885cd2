/** `naru manifest`: lists of one image for several platforms, put together here and sent to a registry. */
import { invalid, sentenceOf } from "#base";
import {
  type Digest,
  digestOf,
  formatReference,
  isDigest,
  MEDIA_TYPE,
  parseReference,
  type Reference,
  repositoryOf,
  withDefaultTag,
} from "#oci";

import { ManifestRegistry } from "../manifest/registry.ts";
import { ManifestStore, type ManifestPlatform, type StoredManifest } from "../manifest/store.ts";
import type { FlagSpec } from "../flags/spec.ts";
import { print, printLine } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";

const insecureFlag = (usage: string): FlagSpec => ({ name: "insecure", kind: "bool", usage });
const INSECURE = insecureFlag("Allow communication with an insecure registry");

/** A name with the tag it means. @throws EngineError "invalid" */
const referenceOf = (text: string): Reference => withDefaultTag(parseReference(text));

/** As `referenceOf`, and the error says which of two names it is about. */
function namedReference(text: string, what: string): Reference {
  try {
    return referenceOf(text);
  } catch (cause) {
    throw invalid(`${what} ${text}: ${sentenceOf(cause)}`, { cause });
  }
}

export const create: Command = {
  flags: [
    { name: "amend", shorthand: "a", kind: "bool", usage: "Amend an existing manifest list" },
    INSECURE,
  ],
  async run({ flags, args, session }) {
    const [name = "", ...manifests] = args;
    const target = namedReference(name, "error parsing name for manifest list");
    const store = new ManifestStore(session.configDirectory);
    if (store.findList(target) !== undefined && !flags.bool("amend")) {
      throw invalid("refusing to amend an existing manifest list with no --amend flag");
    }
    for (const manifest of manifests) {
      const reference = referenceOf(manifest);
      const kept = store.find(target, reference);
      const isWhole = kept?.Raw !== undefined && kept.Raw !== "";
      if (isWhole) continue;
      const registry = new ManifestRegistry(
        session,
        flags.bool("insecure") ? reference.domain : null,
      );
      const found = await registry.find(reference);
      if (found.kind === "list") throw invalid(`${formatReference(reference)} is a manifest list`);
      store.save(target, reference, found.manifest);
    }
    printLine(`Created manifest list ${formatReference(target)}`);
    return 0;
  },
};

export const inspect: Command = {
  flags: [
    INSECURE,
    {
      name: "verbose",
      shorthand: "v",
      kind: "bool",
      usage: "Output additional info including layers and platform",
    },
  ],
  async run({ flags, args, session }) {
    const reference = referenceOf(args.at(-1) ?? "");
    const store = new ManifestStore(session.configDirectory);
    const verbose = flags.bool("verbose");
    if (args.length === 2) {
      showManifest(store.get(referenceOf(args[0] ?? ""), reference), verbose);
      return 0;
    }
    const local = store.findList(reference);
    if (local !== undefined) {
      showList(reference, local, verbose);
      return 0;
    }
    const insecure = flags.bool("insecure") ? reference.domain : null;
    const found = await new ManifestRegistry(session, insecure).find(reference);
    if (found.kind === "list") showList(reference, found.manifests, verbose);
    else showManifest(found.manifest, verbose);
    return 0;
  },
};

function showManifest(manifest: StoredManifest, verbose: boolean): void {
  if (verbose) return print(`${tabbed(manifest)}\n`);
  const document = manifest.SchemaV2Manifest ?? manifest.OCIManifest;
  if (document === undefined) throw invalid(`${manifest.Ref} has no payload`);
  printLine(tabbed(document));
}

function showList(target: Reference, list: readonly StoredManifest[], verbose: boolean): void {
  print(verbose ? `${tabbed(list)}\n` : `${listDocument(target, list)}\n`);
}

const tabbed = (value: unknown): string => JSON.stringify(value, null, "\t");

/** The list as it is sent: docker's client indents with three spaces, and the digest is of these bytes. */
function listDocument(target: Reference, list: readonly StoredManifest[]): string {
  const manifests = list.map(({ Ref, Descriptor }) => {
    const { mediaType, size, digest, platform = { architecture: "", os: "" } } = Descriptor;
    const { domain } = parseReference(Ref);
    if (domain !== target.domain) {
      throw invalid(
        `cannot use source images from a different registry than the target image: ${domain} != ${target.domain}`,
      );
    }
    return { mediaType, size, digest, platform };
  });
  return JSON.stringify({ schemaVersion: 2, mediaType: listType(list), manifests }, null, "   ");
}

/** An index where the first manifest is the OCI's, else a list of Docker's. */
const listType = ([first]: readonly StoredManifest[]): string =>
  first?.Descriptor.mediaType === MEDIA_TYPE.ociManifest
    ? MEDIA_TYPE.ociIndex
    : MEDIA_TYPE.dockerManifestList;

/** What Go calls the platforms that it knows. */
const PLATFORMS: Readonly<Record<string, string>> = {
  darwin: "386 amd64 arm arm64",
  dragonfly: "amd64",
  freebsd: "386 amd64 arm",
  linux: "386 amd64 arm arm64 ppc64le mips64 mips64le riscv64 s390x",
  netbsd: "386 amd64 arm",
  openbsd: "386 amd64 arm",
  plan9: "386 amd64",
  solaris: "amd64",
  windows: "386 amd64",
};

const text = (name: string, usage: string): FlagSpec => ({ name, kind: "string", usage });

export const annotate: Command = {
  flags: [
    text("arch", "Set architecture"),
    text("os", "Set operating system"),
    { name: "os-features", kind: "strings", usage: "Set operating system feature" },
    text("os-version", "Set operating system version"),
    text("variant", "Set architecture variant"),
  ],
  run({ flags, args, session }) {
    const [name = "", image = ""] = args;
    const target = namedReference(name, "annotate: error parsing name for manifest list");
    const reference = namedReference(image, "annotate: error parsing name for manifest");
    const store = new ManifestStore(session.configDirectory);
    const manifest = store.find(target, reference);
    if (manifest === undefined) {
      throw new ExitError(1, `manifest for image ${image} does not exist in ${name}`);
    }
    const had = manifest.Descriptor.platform;
    const asked = (flag: string, before = "") => flags.string(flag) || before;
    const features = [...new Set([...(had?.["os.features"] ?? []), ...flags.list("os-features")])];
    const version = asked("os-version", had?.["os.version"]);
    const variant = asked("variant", had?.variant);
    const platform: ManifestPlatform = {
      architecture: asked("arch", had?.architecture),
      os: asked("os", had?.os),
      ...(version === "" ? {} : { "os.version": version }),
      ...(features.length === 0 ? {} : { "os.features": features }),
      ...(variant === "" ? {} : { variant }),
    };
    if (PLATFORMS[platform.os]?.split(" ").includes(platform.architecture) !== true) {
      throw new ExitError(
        1,
        `manifest entry for image has unsupported os/arch combination: ${flags.string("os")}/${flags.string("arch")}`,
      );
    }
    const Descriptor = { ...manifest.Descriptor, platform };
    store.save(target, reference, { ...manifest, Descriptor });
    return 0;
  },
};

export const push: Command = {
  flags: [
    insecureFlag("Allow push to an insecure registry"),
    {
      name: "purge",
      shorthand: "p",
      kind: "bool",
      usage: "Remove the local manifest list after push",
    },
  ],
  async run({ flags, args, session }) {
    const target = referenceOf(args[0] ?? "");
    const store = new ManifestStore(session.configDirectory);
    const list = store.getList(target);
    if (list.length === 0) throw invalid(`${formatReference(target)} not found`);
    for (const { Ref, Descriptor } of list) {
      if (!Descriptor.platform?.architecture || !Descriptor.platform.os) {
        throw invalid(
          `manifest ${Ref} must have an OS and Architecture to be pushed to a registry`,
        );
      }
    }
    const document = Buffer.from(listDocument(target, list));
    const registry = new ManifestRegistry(session, flags.bool("insecure") ? target.domain : null);
    const foreign = list.filter(({ Ref }) => parseReference(Ref).path !== target.path);
    for (const manifest of foreign) await mountBlobs(registry, target, manifest);
    for (const manifest of foreign) await putOne(registry, target, manifest);
    printLine(await registry.put(target, document, listType(list)));
    if (flags.bool("purge")) store.remove(target);
    return 0;
  },
};

/** Manifests of another repository need their blobs in this one. */
async function mountBlobs(
  registry: ManifestRegistry,
  target: Reference,
  manifest: StoredManifest,
): Promise<void> {
  const { path } = parseReference(manifest.Ref);
  for (const digest of blobsOf(manifest)) {
    const isThere = await registry.mount(target, path, digest);
    // Layers of Windows come from elsewhere.
    if (isThere || manifest.Descriptor.platform?.os === "windows") continue;
    throw invalid(`error mounting ${path}@${digest} to ${formatReference(target)}`);
  }
}

function blobsOf({ SchemaV2Manifest, OCIManifest }: StoredManifest): Digest[] {
  const { config, layers = [] } = SchemaV2Manifest ?? OCIManifest ?? {};
  return [config, ...layers].map((descriptor) => {
    const digest = descriptor?.digest;
    if (typeof digest === "string" && isDigest(digest)) return digest;
    throw invalid("invalid manifest: a descriptor has no digest");
  });
}

async function putOne(
  registry: ManifestRegistry,
  target: Reference,
  { Ref, Descriptor, Raw = "" }: StoredManifest,
): Promise<void> {
  const bytes = Buffer.from(Raw, "base64");
  const { digest, mediaType } = Descriptor;
  const actual = digestOf(bytes);
  if (actual !== digest) {
    throw invalid(`internal digest mismatch for ${Ref}: expected ${digest}, got ${actual}`);
  }
  const put = await registry.put({ ...target, tag: null, digest: actual }, bytes, mediaType);
  printLine(`Pushed ref ${repositoryOf(target)}@${digest} with digest: ${put}`);
}

export const rm: Command = {
  flags: [],
  run({ args, session }) {
    const store = new ManifestStore(session.configDirectory);
    const failures: string[] = [];
    for (const name of args) {
      try {
        const target = referenceOf(name);
        store.getList(target);
        store.remove(target);
      } catch (cause) {
        failures.push(sentenceOf(cause));
      }
    }
    if (failures.length === 0) return 0;
    throw new ExitError(1, failures.join("\n"));
  },
};
