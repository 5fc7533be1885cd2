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
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    throw wrap(`Get "${url.href}"`, unavailable(dialError(url, cause), { cause }));
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw unavailable(
      `failed to GET ${url.href} with status ${response.status} ${response.statusText}`,
    );
  }
  onProgress({ status: `Downloading from ${url.href}` });
  const total = Number(response.headers.get("content-length") ?? 0);
  return response.body.pipeThrough(progressOf(total, onProgress));
}

/** In the words of Go, where what happened is known. */
function dialError(url: URL, cause: unknown): string {
  const isRefused = (cause as { code?: unknown } | null)?.code === "ECONNREFUSED";
  if (!isRefused) return "the server could not be reached";
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return `dial tcp ${url.hostname}:${port}: connect: connection refused`;
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
