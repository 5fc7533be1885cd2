/** Manifests at a registry: this program speaks to it itself, as docker's own does; no engine is asked. */
import { EngineError, invalid, MANIFEST_LIMIT_BYTES, notFound, wrap } from "#base";
import {
  type FetchedManifest,
  openRegistryClient,
  type RegistryClient,
  type Repository,
  type RepositoryRequest,
} from "#engine/registry-client";
import {
  DEFAULT_TAG,
  type Digest,
  formatReference,
  isDigest,
  isIndexType,
  isManifestType,
  isObject,
  MEDIA_TYPE,
  parseJsonObject,
  type Reference,
} from "#oci";

import { credentialsFor } from "../config/credentials.ts";
import type { Session } from "../config/session.ts";
import { authKey } from "../options/reference.ts";
import type { ManifestPlatform, StoredManifest } from "./store.ts";

/** What a registry has under a name: one manifest, or those of an index with the platforms it says. */
export type Found =
  | { readonly kind: "manifest"; readonly manifest: StoredManifest }
  | { readonly kind: "list"; readonly manifests: readonly StoredManifest[] };

/** Manifests that an index names: more is no image. */
const INDEX_LIMIT = 1024;

export class ManifestRegistry {
  readonly #session: Session;
  readonly #client: RegistryClient;
  /** Nobody gives up but the person, who ends the program. */
  readonly #whole = { signal: new AbortController().signal };

  /** @param insecure the registry whose certificate is not checked, and where plain http will do; loopback always is */
  constructor(session: Session, insecure: string | null) {
    this.#session = session;
    this.#client = openRegistryClient({
      userAgent: `naru/${session.build.version}`,
      insecureRegistries: insecure === null ? [] : [insecure],
    });
  }

  /** @throws EngineError "notFound": `no such manifest: …` */
  async find(reference: Reference): Promise<Found> {
    try {
      return await this.#at(reference, { actions: "pull" }, async (repository) => {
        const fetched = await repository.manifest(
          reference.digest ?? reference.tag ?? DEFAULT_TAG,
          this.#whole,
        );
        if (isIndexType(fetched.mediaType)) {
          const manifests = await this.#members(repository, reference, fetched.bytes);
          return { kind: "list", manifests };
        }
        return { kind: "manifest", manifest: await this.#describe(repository, reference, fetched) };
      });
    } catch (cause) {
      if (!isUnknown(cause)) throw cause;
      throw notFound(`no such manifest: ${formatReference(reference)}`, { cause });
    }
  }

  /** Has a blob of another repository of the same registry in this one; false where the registry does not mount it. */
  async mount(target: Reference, from: string, digest: Digest): Promise<boolean> {
    const request = { actions: "pull,push", alsoRead: [from] } as const;
    return await this.#at(target, request, (repository) =>
      repository.mount({ digest, from, ...this.#whole }),
    );
  }

  /** Puts a manifest under the reference's tag or digest. @returns its digest */
  async put(reference: Reference, bytes: Uint8Array, mediaType: string): Promise<Digest> {
    const tagOrDigest = reference.tag ?? reference.digest ?? DEFAULT_TAG;
    const document = { tagOrDigest, bytes: new Uint8Array(bytes), mediaType, ...this.#whole };
    try {
      return await this.#at(reference, { actions: "pull,push" }, (repository) =>
        repository.putManifest(document),
      );
    } catch (cause) {
      throw wrap(`failed to put manifest ${formatReference(reference)}`, cause);
    }
  }

  async #at<T>(
    { domain, path }: Reference,
    request: Pick<RepositoryRequest, "actions" | "alsoRead">,
    work: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const known = await credentialsFor(this.#session.config, authKey(domain));
    const credentials = {
      ...(known?.username === undefined ? {} : { username: known.username }),
      ...(known?.password === undefined ? {} : { password: known.password }),
      ...(known?.identitytoken === undefined ? {} : { identityToken: known.identitytoken }),
      ...(known?.registrytoken === undefined ? {} : { registryToken: known.registrytoken }),
    };
    const asked = { domain, path, credentials, ...request, ...this.#whole };
    return await this.#client.withRepository(asked, work);
  }

  async #members(
    repository: Repository,
    reference: Reference,
    bytes: Uint8Array,
  ): Promise<StoredManifest[]> {
    const members: StoredManifest[] = [];
    for (const { digest, platform } of membersOf(bytes)) {
      const fetched = await repository.manifest(digest, this.#whole);
      const described = await this.#describe(repository, { ...reference, digest }, fetched);
      const Descriptor = { ...described.Descriptor, platform };
      members.push({ ...described, Descriptor });
    }
    return members;
  }

  async #describe(
    repository: Repository,
    reference: Reference,
    { bytes, digest, mediaType }: FetchedManifest,
  ): Promise<StoredManifest> {
    const name = formatReference(reference);
    if (!isManifestType(mediaType)) throw invalid(`${name} is not a manifest`);
    const document = parseJsonObject(bytes, "manifest");
    const config = descriptorOf(document["config"]);
    const limitBytes = MANIFEST_LIMIT_BYTES;
    const about = await repository.blobDocument(config, { ...this.#whole, limitBytes });
    const platform = platformOf(parseJsonObject(about, "image config"));
    const kind = mediaType === MEDIA_TYPE.dockerManifest ? "SchemaV2Manifest" : "OCIManifest";
    return {
      Ref: name,
      Descriptor: { mediaType, digest, size: bytes.length, platform },
      Raw: Buffer.from(bytes).toString("base64"),
      [kind]: document,
    };
  }
}

/** The registry does not have it, or does not say: docker then knows of no manifest. */
const isUnknown = (cause: unknown): boolean =>
  cause instanceof EngineError &&
  "code" in cause &&
  ["", "UNAUTHORIZED", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"].includes(String(cause.code));

function descriptorOf(value: unknown): { digest: Digest; size: number } {
  if (isObject(value)) {
    const { digest, size } = value;
    if (typeof digest === "string" && isDigest(digest) && typeof size === "number")
      return { digest, size };
  }
  throw invalid("invalid manifest: a descriptor has no digest or no size");
}

function membersOf(bytes: Uint8Array): { digest: Digest; platform: ManifestPlatform }[] {
  const { manifests = [] } = parseJsonObject(bytes, "index");
  if (!Array.isArray(manifests) || manifests.length > INDEX_LIMIT) {
    throw invalid("invalid index: its manifests are no list, or too many");
  }
  return manifests.map((member: unknown) => {
    const platform = isObject(member) && isObject(member["platform"]) ? member["platform"] : {};
    return { digest: descriptorOf(member).digest, platform: platformOf(platform) };
  });
}

/** The fields of a platform, of an image's configuration or of an index, in their order. */
function platformOf(from: Readonly<Record<string, unknown>>): ManifestPlatform {
  const text = (key: string) => (typeof from[key] === "string" ? from[key] : "");
  const features = from["os.features"];
  const isList = Array.isArray(features) && features.length > 0;
  return {
    architecture: text("architecture"),
    os: text("os"),
    ...(text("os.version") === "" ? {} : { "os.version": text("os.version") }),
    ...(isList ? { "os.features": features.map(String) } : {}),
    ...(text("variant") === "" ? {} : { variant: text("variant") }),
  };
}
