/** What a registry has under a name: its descriptor and the platforms it is for. Nothing is stored. */
import { IMAGE_CONFIG_LIMIT_BYTES, notImplemented } from "#base";
import { pullError, type RegistryClient, type Repository } from "#engine/registry-client";
import {
  type Digest,
  familiarReference,
  parseImageConfig,
  parseManifestDocument,
  parseReference,
  type Platform,
  withDefaultTag,
} from "#oci";

import type { RegistryCredentials } from "./image-service.ts";

export interface RemoteImage {
  readonly descriptor: {
    readonly mediaType: string;
    readonly digest: Digest;
    readonly size: number;
  };
  readonly platforms: readonly Platform[];
}

export interface RemoteImageRequest {
  readonly reference: string;
  readonly credentials?: RegistryCredentials;
  readonly signal: AbortSignal;
}

/** @throws EngineError "notFound", "unauthorized", "unavailable" as a pull of the name would */
export async function inspectRemote(
  registry: Pick<RegistryClient, "withRepository">,
  { reference, credentials, signal }: RemoteImageRequest,
): Promise<RemoteImage> {
  const named = withDefaultTag(parseReference(reference));
  const { domain, path } = named;
  try {
    return await registry.withRepository(
      { domain, path, actions: "pull", signal, ...(credentials ? { credentials } : {}) },
      async (repository) => {
        const fetched = await repository.manifest(named.digest ?? named.tag ?? "", { signal });
        const document = parseManifestDocument(fetched.bytes, fetched.mediaType);
        const descriptor = {
          mediaType: fetched.mediaType,
          digest: fetched.digest,
          size: fetched.bytes.length,
        };
        switch (document.kind) {
          case "index":
            return {
              descriptor,
              platforms: document.index.manifests.flatMap(({ platform }) => platform ?? []),
            };
          case "manifest":
            return {
              descriptor,
              platforms: [await platformOf(repository, document.manifest.config, signal)],
            };
          case "schema1":
            throw notImplemented(
              `Docker Image Format v1 and Docker Image manifest version 2, schema 1 support is disabled: ${familiarReference(named)}`,
            );
        }
      },
    );
  } catch (cause) {
    throw pullError(named, cause);
  }
}

async function platformOf(
  repository: Repository,
  config: { digest: Digest; size: number },
  signal: AbortSignal,
): Promise<Platform> {
  const bytes = await repository.blobDocument(config, {
    signal,
    limitBytes: IMAGE_CONFIG_LIMIT_BYTES,
  });
  const { os, architecture, variant } = parseImageConfig(bytes);
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}
