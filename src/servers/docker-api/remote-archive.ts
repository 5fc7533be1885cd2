/** `docker import http://…`: the archive is fetched by the engine. */
import { invalid, unavailable, wrap } from "#base";
import type { OnProgress } from "#engine/image";

/** How often progress is told. */
const TELL_EVERY_BYTES = 512 * 1024;

/** @throws EngineError "invalid" for what is no URL, "unavailable" when it cannot be fetched */
export async function openRemoteArchive(
  source: string,
  { signal, onProgress }: { signal: AbortSignal; onProgress: OnProgress },
): Promise<ReadableStream<Uint8Array>> {
  const url = parseSource(source);
  onProgress({ status: `Downloading from ${url.href}` });
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    throw wrap(`Get "${url.href}"`, unavailable("the server could not be reached", { cause }));
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw unavailable(
      `failed to GET ${url.href} with status ${response.status} ${response.statusText}`,
    );
  }
  const total = Number(response.headers.get("content-length") ?? 0);
  return response.body.pipeThrough(progressOf(total, onProgress));
}

/** A source without a scheme is http, as in Docker. */
function parseSource(source: string): URL {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(source) ? source : `http://${source}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw invalid(
      `invalid source ${JSON.stringify(source)}: it must be "-" or an http or https URL`,
    );
  }
  return url;
}

function progressOf(
  total: number,
  onProgress: OnProgress,
): TransformStream<Uint8Array, Uint8Array> {
  let current = 0;
  let told = 0;
  return new TransformStream({
    transform(chunk, controller) {
      current += chunk.length;
      if (current - told >= TELL_EVERY_BYTES) {
        told = current;
        onProgress({
          status: "Importing",
          progressDetail: { current, ...(total > 0 ? { total } : {}) },
        });
      }
      controller.enqueue(chunk);
    },
  });
}
