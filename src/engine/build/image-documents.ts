/**
 * An image as its documents: a manifest for each platform, what is said about it, and an index around them where there
 * is more than one thing. Pure. Spec: OCI image-spec 1.1; BuildKit's docs, "Attestation storage".
 */
import { invalid } from "#base";
import {
  type Descriptor,
  type Digest,
  digestOf,
  formatPlatform,
  type ImageConfig,
  type Manifest,
  MEDIA_TYPE,
  type Platform,
} from "#oci";

/** What is said about an image, in in-toto's form. */
export interface Statement {
  /** Where there is no image to put it beside. */
  readonly fileName: string;
  readonly predicateType: string;
  /** Its subject is the image; else it names its own. */
  readonly isOfImage: boolean;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** One platform of an image. */
export interface BuiltImage {
  readonly config: ImageConfig;
  readonly platform: Platform;
  /** About the manifest that it will be known by. */
  readonly statements: (manifest: Digest) => readonly Statement[];
}

type Annotations = Readonly<Record<string, string>>;

/** Where annotations go; one may be for one platform only. */
export interface ImageAnnotation {
  readonly on: "manifest" | "index" | "manifest-descriptor" | "index-descriptor";
  /** "" for all. */
  readonly platform: string;
  readonly name: string;
  readonly value: string;
}

export interface DocumentOptions {
  readonly annotations: readonly ImageAnnotation[];
  /** An index even around one thing. */
  readonly isIndex: boolean;
  /** False: Docker's own media types, where nothing needs OCI's. */
  readonly isOci: boolean;
}

export interface ImageDocuments {
  /** The index, or the only manifest. */
  readonly target: Descriptor;
  /** Of each platform, in the order given. */
  readonly manifests: readonly Descriptor[];
  readonly documents: ReadonlyMap<Digest, Uint8Array<ArrayBuffer>>;
}

const STATEMENT_TYPE = "application/vnd.in-toto+json";
const UNKNOWN: Platform = { architecture: "unknown", os: "unknown" };

/** The bytes of a config, which are its image's id. */
export const configBytes = (config: ImageConfig): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(config));

/** @param layersOf an image's layers as they are stored, in order */
export function documentImage(
  images: readonly BuiltImage[],
  layersOf: (image: BuiltImage) => readonly Descriptor[],
  options: DocumentOptions,
): ImageDocuments {
  const writer = new DocumentWriter(options);
  const manifests = images.map((image) => writer.image(image, layersOf(image)));
  const [only] = manifests;
  const entries = manifests.flatMap(({ manifest, attestation }) =>
    attestation === null ? [manifest] : [manifest, attestation],
  );
  const isIndex = options.isIndex || entries.length > 1;
  if (!isIndex) checkNoIndex(options);
  const target = isIndex || only === undefined ? writer.index(entries) : only.manifest;
  return {
    target,
    manifests: manifests.map(({ manifest }) => manifest),
    documents: writer.documents,
  };
}

function checkNoIndex({ annotations }: DocumentOptions): void {
  if (annotations.some(({ on }) => on === "index" || on === "index-descriptor")) {
    throw invalid("index annotations not supported for single platform export");
  }
}

class DocumentWriter {
  readonly documents = new Map<Digest, Uint8Array<ArrayBuffer>>();
  readonly #options: DocumentOptions;

  constructor(options: DocumentOptions) {
    this.#options = options;
  }

  image(
    image: BuiltImage,
    layers: readonly Descriptor[],
  ): { manifest: Descriptor; attestation: Descriptor | null } {
    const { isOci } = this.#options;
    const mediaType = isOci ? MEDIA_TYPE.ociManifest : MEDIA_TYPE.dockerManifest;
    const config = this.#add(configBytes(image.config), {
      mediaType: isOci ? MEDIA_TYPE.ociConfig : MEDIA_TYPE.dockerConfig,
    });
    const manifest: Manifest = {
      schemaVersion: 2,
      mediaType,
      config,
      layers: [...layers],
      ...this.#annotations("manifest", image.platform),
    };
    const { os, architecture, variant } = image.platform;
    const described = this.#add(bytesOf(manifest), {
      mediaType,
      platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
      ...this.#annotations("manifest-descriptor", image.platform),
    });
    const statements = image.statements(described.digest);
    const attestation = statements.length === 0 ? null : this.#attest(described, statements);
    return { manifest: described, attestation };
  }

  index(manifests: readonly Descriptor[]): Descriptor {
    const { isOci } = this.#options;
    const mediaType = isOci ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.dockerManifestList;
    const index = { schemaVersion: 2, mediaType, manifests, ...this.#annotations("index", null) };
    return this.#add(bytesOf(index), {
      mediaType,
      ...this.#annotations("index-descriptor", null),
    });
  }

  /** A manifest whose layers are the statements, and whose config says no more than that. */
  #attest(subject: Descriptor, statements: readonly Statement[]): Descriptor {
    const layers = statements.map(({ predicateType, bytes }) =>
      this.#add(bytes, {
        mediaType: STATEMENT_TYPE,
        annotations: { "in-toto.io/predicate-type": predicateType },
      }),
    );
    const config = this.#add(
      bytesOf({
        ...UNKNOWN,
        config: {},
        rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
      }),
      { mediaType: MEDIA_TYPE.ociConfig },
    );
    const mediaType = MEDIA_TYPE.ociManifest;
    const manifest: Manifest = { schemaVersion: 2, mediaType, config, layers };
    return this.#add(bytesOf(manifest), {
      mediaType,
      platform: UNKNOWN,
      annotations: {
        "vnd.docker.reference.digest": subject.digest,
        "vnd.docker.reference.type": "attestation-manifest",
      },
    });
  }

  #annotations(
    on: ImageAnnotation["on"],
    platform: Platform | null,
  ): { annotations?: Record<string, string> } {
    const own: Record<string, string> = {};
    const name = platform === null ? "" : formatPlatform(platform);
    for (const one of this.#options.annotations) {
      const isMeant = one.on === on && (one.platform === "" || one.platform === name);
      if (isMeant) own[one.name] = one.value;
    }
    return Object.keys(own).length === 0 ? {} : { annotations: own };
  }

  #add(
    bytes: Uint8Array<ArrayBuffer>,
    about: { mediaType: string; platform?: Platform; annotations?: Annotations },
  ): Descriptor {
    const digest = digestOf(bytes);
    this.documents.set(digest, bytes);
    const { mediaType, ...more } = about;
    return { mediaType, digest, size: bytes.length, ...more };
  }
}

const bytesOf = (value: object): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(value));
