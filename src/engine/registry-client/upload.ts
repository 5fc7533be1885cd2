/** Sends a blob: streamed, its digest told at the end. Or has it mounted from another repository. */
import type { Digest } from "#oci";

import { answerError, isTransient, RegistryError } from "./errors.ts";
import type { RepositoryExchange } from "./repository.ts";
import type { Answer } from "./transport.ts";

export interface UploadRequest {
  /** The blob from its start, for each attempt anew. */
  readonly open: () => ReadableStream<Uint8Array>;
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number) => void;
}

export interface Uploaded {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface UploadContext extends UploadRequest {
  readonly attempts: number;
  readonly send: (exchange: RepositoryExchange) => Promise<Answer>;
  readonly pause: (attempt: number) => Promise<void>;
}

export async function upload(context: UploadContext): Promise<Uploaded> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await uploadOnce(context);
    } catch (cause) {
      context.signal.throwIfAborted();
      // A token may run out while bytes flow; a stream cannot be repeated in the middle.
      const isExpired = cause instanceof RegistryError && cause.status === 401 && attempt === 1;
      if (!(isExpired || isTransient(cause)) || attempt >= context.attempts) throw cause;
      await context.pause(attempt);
    }
  }
}

async function uploadOnce(context: UploadContext): Promise<Uploaded> {
  const { send, signal } = context;
  const begun = await send({ method: "POST", to: "blobs/uploads/", signal });
  if (!begun.response.ok) throw await answerError(begun.response);
  await begun.response.body?.cancel();
  const { stream, result } = hashed(context);
  const sent = await send({
    method: "PATCH",
    to: locationOf(begun),
    headers: { "Content-Type": "application/octet-stream" },
    body: stream,
    isUpload: true,
    signal,
  });
  if (!sent.response.ok) throw await answerError(sent.response);
  await sent.response.body?.cancel();
  const { digest, sizeBytes } = result();
  const place = locationOf(sent);
  place.searchParams.set("digest", digest);
  const put = await send({ method: "PUT", to: place, body: new Uint8Array(), signal });
  if (!put.response.ok) throw await answerError(put.response);
  await put.response.body?.cancel();
  return { digest, sizeBytes };
}

/** Spec: "Mounting a blob from another repository". False when the registry would rather have the bytes. */
export async function mount(request: {
  readonly digest: Digest;
  /** A repository's path at the same registry. */
  readonly from: string;
  readonly signal: AbortSignal;
  readonly send: UploadContext["send"];
}): Promise<boolean> {
  const { digest, from, signal, send } = request;
  const query = `mount=${digest}&from=${encodeURIComponent(from)}`;
  const answer = await send({ method: "POST", to: `blobs/uploads/?${query}`, signal });
  await answer.response.body?.cancel();
  // An upload that was begun instead is left to the registry's own clean-up.
  return answer.response.status === 201;
}

function locationOf({ response, url }: Answer): URL {
  const location = response.headers.get("location");
  const next = location === null ? null : URL.parse(location, url.href);
  if (!next) throw new Error("the registry gave no place for the upload");
  // Registries behind a proxy that ends TLS often say http for themselves.
  if (next.host === url.host && url.protocol === "https:") next.protocol = "https:";
  return next;
}

/** The stream, hashed and counted as it is read. */
function hashed({ open, onProgress }: UploadContext): {
  stream: ReadableStream<Uint8Array>;
  result: () => { digest: Digest; sizeBytes: number };
} {
  const hasher = new Bun.CryptoHasher("sha256");
  let sizeBytes = 0;
  const reader = open().getReader();
  const stream = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await reader.read();
      if (done) {
        controller.close();
        return;
      }
      hasher.update(value);
      sizeBytes += value.length;
      onProgress?.(sizeBytes);
      controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { stream, result: () => ({ digest: `sha256:${hasher.digest("hex")}`, sizeBytes }) };
}
