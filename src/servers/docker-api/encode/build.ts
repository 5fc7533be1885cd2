/** A build's events as the lines that Docker's classic builder prints. */
import { shortId } from "#base";
import type { BuildCacheItem, BuildEvent } from "#engine/build";
import { type Digest, digestHex } from "#oci";
import type { BuildCache } from "#wire/docker";

const RED = "\u001b[91m";
const PLAIN = "\u001b[0m";

/** JSON lines of one event; none for what the classic builder does not tell. */
export function encodeBuildEvent(event: BuildEvent): object[] {
  switch (event.type) {
    case "step":
      return [stream(`Step ${event.step}/${event.total} : ${event.text}\n`)];
    case "cache":
      return event.hit ? [stream(" ---> Using cache\n")] : [];
    case "running":
      return [stream(` ---> Running in ${shortId(event.id)}\n`)];
    case "output":
      return [stream(event.stderr ? `${RED}${event.text}${PLAIN}` : event.text)];
    case "progress":
      return [event.message];
    case "done": {
      const removed =
        event.processId === null
          ? []
          : [stream(` ---> Removed intermediate container ${shortId(event.processId)}\n`)];
      const id = event.id === null ? [] : [stream(` ---> ${shortId(digestHex(event.id))}\n`)];
      return [...removed, ...id];
    }
    case "warning":
      return [stream(`[Warning] ${event.rule}: ${event.message} (line ${event.line})\n`)];
    case "notice":
      return [stream(event.text)];
    case "failed":
      return [stream(`${event.excerpt}\n`)];
    case "source":
    case "plan":
    case "broken":
      return [];
  }
}

const stream = (text: string): object => ({ stream: text });

/** What ends a build that went well. @param names familiar, with tags */
export const encodeBuilt = (id: Digest, names: readonly string[]): object[] => [
  { aux: { ID: id } },
  stream(`Successfully built ${shortId(digestHex(id))}\n`),
  ...names.map((name) => stream(`Successfully tagged ${name}\n`)),
];

export const encodeBuildCache = (item: BuildCacheItem): BuildCache => ({
  ID: item.id,
  ...(item.parent === null ? {} : { Parents: [item.parent] }),
  Type: item.kind,
  Description: item.description,
  InUse: item.isInUse,
  Shared: item.isShared,
  Size: item.sizeBytes,
  CreatedAt: item.createdAt.toISOString(),
  LastUsedAt: item.lastUsedAt.toISOString(),
  UsageCount: item.uses,
});
