/**
 * Manifest lists that are being put together, where docker's own client keeps them and in its words:
 *
 *   ~/.docker/manifests/<list>/<manifest>   one JSON document each; `:` is `-` and `/` is `_` in the names
 */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { invalid, notFound } from "#base";
import { formatReference, isObject, type Reference } from "#oci";

import { readTextFile } from "../terminal/stdio.ts";

export interface ManifestPlatform {
  readonly architecture: string;
  readonly os: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
  readonly variant?: string;
}

/** What is pointed to by a manifest, as far as pushing it needs to know. */
interface ManifestDocument {
  readonly config?: { readonly digest?: unknown };
  readonly layers?: readonly { readonly digest?: unknown }[];
}

/** One manifest of a list; the order of the fields is docker's. */
export interface StoredManifest {
  /** Whole: `docker.io/library/busybox:latest`. */
  readonly Ref: string;
  readonly Descriptor: {
    readonly mediaType: string;
    readonly digest: string;
    readonly size: number;
    readonly platform?: ManifestPlatform;
  };
  /** The registry's bytes, in base64. Older clients kept none. */
  readonly Raw?: string;
  readonly SchemaV2Manifest?: ManifestDocument;
  readonly OCIManifest?: ManifestDocument;
}

const noSuch = (reference: Reference) =>
  notFound(`No such manifest: ${formatReference(reference)}`);

export class ManifestStore {
  readonly #root: string;

  constructor(configDirectory: string) {
    this.#root = join(configDirectory, "manifests");
  }

  /** undefined where the list has no such manifest, or is not there itself. */
  find(list: Reference, manifest: Reference): StoredManifest | undefined {
    return this.#read(join(this.#folder(list), fileName(manifest)));
  }

  /** @throws EngineError "notFound" */
  get(list: Reference, manifest: Reference): StoredManifest {
    const found = this.find(list, manifest);
    if (found === undefined) throw noSuch(manifest);
    return found;
  }

  /** Every manifest of a list, by name; undefined for no such list. */
  findList(list: Reference): StoredManifest[] | undefined {
    const folder = this.#folder(list);
    if (!existsSync(folder)) return undefined;
    const names = readdirSync(folder).toSorted();
    return names.flatMap((name) => this.#read(join(folder, name)) ?? []);
  }

  /** @throws EngineError "notFound" */
  getList(list: Reference): StoredManifest[] {
    const found = this.findList(list);
    if (found === undefined) throw noSuch(list);
    return found;
  }

  save(list: Reference, manifest: Reference, document: StoredManifest): void {
    mkdirSync(this.#folder(list), { recursive: true });
    writeFileSync(join(this.#folder(list), fileName(manifest)), JSON.stringify(document));
  }

  remove(list: Reference): void {
    rmSync(this.#folder(list), { recursive: true, force: true });
  }

  #folder(list: Reference): string {
    return join(this.#root, fileName(list));
  }

  #read(path: string): StoredManifest | undefined {
    const text = readTextFile(path);
    if (text === undefined) return undefined;
    const document = parsed(text);
    if (document === undefined) throw invalid(`${path} is no manifest`);
    return document;
  }
}

/** A reference has no `..` and no empty part: it cannot leave the folder. */
const fileName = (reference: Reference): string =>
  formatReference(reference).replaceAll(":", "-").replaceAll("/", "_");

function parsed(text: string): StoredManifest | undefined {
  try {
    const document: unknown = JSON.parse(text);
    if (!isObject(document) || typeof document["Ref"] !== "string") return undefined;
    const { Descriptor: about } = document;
    const isWhole =
      isObject(about) && typeof about["digest"] === "string" && typeof about["size"] === "number";
    return isWhole ? (document as unknown as StoredManifest) : undefined;
  } catch {
    return undefined;
  }
}
