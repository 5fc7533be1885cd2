/** The OCI distribution client: authorization, retry, resume. */
export type { Credentials } from "./authorization.ts";
export { openRegistryClient, type RegistryClient, type RepositoryRequest } from "./client.ts";
export { pullError } from "./errors.ts";
export type { RegistryLimits, RegistryOptions } from "./options.ts";
export type { FetchedManifest, Repository } from "./repository.ts";
export type { SearchRequest, SearchResult } from "./search.ts";
export type { Uploaded, UploadRequest } from "./upload.ts";
