/** The endpoints of a container's files, one function each. */
import type { ContainerChange, ContainerPathStat } from "#wire/docker";

import { type ApiClient, type ApiResponse, encodeName } from "./client.ts";

const pathOf = (id: string, action: string): string => `/containers/${encodeName(id)}/${action}`;

function statOf(response: ApiResponse): ContainerPathStat {
  const header = response.headers.get("x-docker-container-path-stat") ?? "";
  return JSON.parse(Buffer.from(header, "base64").toString()) as ContainerPathStat;
}

/** What a path of a container is; the last link itself unless a slash follows it. */
export async function statContainerPath(
  client: ApiClient,
  id: string,
  path: string,
): Promise<ContainerPathStat> {
  const request = { method: "HEAD", path: pathOf(id, "archive"), query: { path } } as const;
  const response = await client.request(request);
  response.close();
  return statOf(response);
}

/** A file or directory as a tar, and what it is. */
export async function readContainerArchive(
  client: ApiClient,
  id: string,
  path: string,
): Promise<{ stat: ContainerPathStat; tar: ApiResponse }> {
  const request = { method: "GET", path: pathOf(id, "archive"), query: { path } } as const;
  const tar = await client.request(request);
  return { stat: statOf(tar), tar };
}

/** Writes a tar into a directory of a container; kinds of files there are kept. */
export const writeContainerArchive = (
  client: ApiClient,
  id: string,
  request: { path: string; archive: AsyncIterable<Uint8Array>; copyOwner: boolean },
): Promise<void> =>
  client.send({
    method: "PUT",
    path: pathOf(id, "archive"),
    query: { path: request.path, noOverwriteDirNonDir: "true", copyUIDGID: request.copyOwner },
    body: request.archive,
    contentType: "application/x-tar",
  });

export const exportContainer = (client: ApiClient, id: string): Promise<ApiResponse> =>
  client.request({ method: "GET", path: pathOf(id, "export") });

export const containerChanges = (
  client: ApiClient,
  id: string,
): Promise<ContainerChange[] | null> => client.json({ method: "GET", path: pathOf(id, "changes") });

export const commitContainer = (
  client: ApiClient,
  id: string,
  request: {
    repository?: string | undefined;
    tag?: string | undefined;
    author: string;
    comment: string;
    pause: boolean;
    changes: readonly string[];
  },
): Promise<{ Id: string }> => {
  const { repository, tag, author, comment, pause, changes } = request;
  return client.json({
    method: "POST",
    path: "/commit",
    query: {
      container: id,
      repo: repository,
      tag,
      author,
      comment,
      ...(pause ? {} : { pause: "0" }),
    },
    rawQuery: changes.map((line) => `changes=${encodeURIComponent(line)}`).join("&"),
  });
};
