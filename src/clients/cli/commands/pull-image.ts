/** Pulling one image for `pull`, `run` and `create`. */
import { pullImage } from "#clients/api-client";

import { credentialsFor } from "../config/credentials.ts";
import type { Session } from "../config/session.ts";
import { authKey, familiarName, parseReference } from "../options/reference.ts";
import { showProgress } from "../output/progress.ts";

export interface PullRequest {
  readonly image: string;
  readonly platform?: string | undefined;
  readonly allTags?: boolean;
  readonly quiet?: boolean;
  /** Where progress goes. */
  readonly fd: number;
}

/** Pulls an image and shows the progress. */
export async function pull(session: Session, request: PullRequest): Promise<void> {
  const reference = parseReference(request.image);
  const tag =
    request.allTags === true ? undefined : (reference.digest ?? reference.tag ?? "latest");
  const messages = pullImage(await session.client(), {
    name: familiarName(reference),
    tag,
    platform: request.platform,
    auth: await credentialsFor(session.config, authKey(reference.domain)),
  });
  await showProgress(messages, { fd: request.fd, quiet: request.quiet === true });
}
