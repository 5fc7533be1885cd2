/** Frontends, by the image that BuildKit would run: that of Dockerfiles is built in, and there is no other. */
import { notImplemented } from "#base";

import { syntaxOf } from "./lines.ts";

/** Wherever a mirror of it lies. */
const DOCKERFILE = /^(?:[\w.:-]+\/)?docker\/dockerfile(?:-upstream)?(?:[:@].*)?$/;

export const isDockerfileFrontend = (image: string): boolean => DOCKERFILE.test(image);

/**
 * What a text asks to be read by, or a build for it (BUILDKIT_SYNTAX, which goes first); words behind the image are
 * the frontend's own.
 * @throws EngineError "notImplemented" for another one than is here
 */
export function checkFrontend(text: string, asked: string | null | undefined): void {
  const [image = ""] = (asked || (syntaxOf(text) ?? "")).split(" ");
  if (image === "" || isDockerfileFrontend(image)) return;
  throw notImplemented(
    `not implemented: the frontend ${image}: of frontends only docker/dockerfile is here, which is built in`,
  );
}
