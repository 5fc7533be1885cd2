/** What a build leaves beside its record: documents of what it made, what is said about it, how it went. */
import { type Descriptor, type Digest, digestOf } from "#oci";
import {
  BuildHistoryRecordSchema,
  create,
  type GrpcFailure,
  StatusSchema,
  toBinary,
} from "#wire/grpc";

import { TRACE_TYPE } from "./trace.ts";

/** Of one build. What would be too much is not kept, and not named. */
const LIMIT_BYTES = 4 * 1024 * 1024;
const STATEMENT_TYPE = "application/vnd.in-toto+json";
const FAILURE_TYPE = "application/vnd.googeapis.google.rpc.status+proto";

/** As BuildKit's record has it. */
export interface Attached {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: bigint;
  readonly annotations: Readonly<{ [name: string]: string }>;
}

export class Attachments {
  readonly blobs = new Map<Digest, Uint8Array>();
  readonly #results: Attached[] = [];
  /** By platform; "" for the only one of a build that has no list of them. */
  readonly #said = new Map<string, Attached[]>();
  #trace: Attached | null = null;
  #failure: Attached | null = null;
  #sizeBytes = 0;

  /** What an exporter made, with the documents that it consists of. */
  made(target: Descriptor, documents: ReadonlyMap<Digest, Uint8Array>): void {
    const bytes = documents.get(target.digest);
    if (bytes === undefined) return;
    const kept = this.#keep(bytes, target.mediaType, {});
    if (kept === null) return;
    this.#results.push(kept);
    for (const document of documents.values()) this.#keep(document, "", {});
  }

  /** A statement's predicate. */
  said(platform: string, predicateType: string, predicate: unknown): void {
    const bytes = new TextEncoder().encode(JSON.stringify(predicate));
    const kept = this.#keep(bytes, STATEMENT_TYPE, { "in-toto.io/predicate-type": predicateType });
    if (kept !== null) this.#said.set(platform, [...(this.#said.get(platform) ?? []), kept]);
  }

  traced(trace: Uint8Array): void {
    this.#trace = this.#keep(trace, TRACE_TYPE, {});
  }

  failed({ code, message, details }: GrpcFailure): void {
    const all = details.map(({ typeUrl, value }) => ({ typeUrl, value }));
    const status = create(StatusSchema, { code, message, details: all });
    this.#failure = this.#keep(toBinary(StatusSchema, status), FAILURE_TYPE, {});
  }

  /** Of the record. */
  get fields() {
    const { "": only = [], ...platforms } = Object.fromEntries(this.#said);
    const results = Object.fromEntries(this.#results.map((one, index) => [String(index), one]));
    const hasResult = only.length > 0 || this.#results.length > 0;
    const named = Object.entries(platforms).map(([name, attestations]) => [name, { attestations }]);
    const { result, trace, externalError, ...whole } = create(BuildHistoryRecordSchema, {
      ...(hasResult ? { result: { attestations: only, results } } : {}),
      results: Object.fromEntries(named) as Record<string, { attestations: Attached[] }>,
      ...(this.#trace === null ? {} : { trace: this.#trace }),
      ...(this.#failure === null ? {} : { externalError: this.#failure }),
    });
    return {
      results: whole.results,
      ...(result === undefined ? {} : { result }),
      ...(trace === undefined ? {} : { trace }),
      ...(externalError === undefined ? {} : { externalError }),
    };
  }

  #keep(
    bytes: Uint8Array,
    mediaType: string,
    annotations: Attached["annotations"],
  ): Attached | null {
    const digest = digestOf(bytes);
    if (!this.blobs.has(digest)) {
      if (this.#sizeBytes + bytes.length > LIMIT_BYTES) return null;
      this.#sizeBytes += bytes.length;
      this.blobs.set(digest, bytes);
    }
    return { mediaType, digest, size: BigInt(bytes.length), annotations };
  }
}
