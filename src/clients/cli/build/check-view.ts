/** `--check`: what the Dockerfile's check has found, each with its lines, as buildx tells it. */
import type { BuildEventMessage } from "#wire/docker";

import { type BuildProgress, type BuildView, failureText } from "./progress.ts";

type Finding = Extract<BuildEventMessage, { type: "warning" }>;

export interface CheckViewOptions {
  readonly print: (text: string) => void;
  readonly warn: (text: string) => void;
}

export const checkView = (
  progress: BuildProgress,
  { print, warn }: CheckViewOptions,
): BuildView => ({
  take: () => undefined,
  end(failed) {
    const { findings } = progress;
    for (const finding of findings) print(`${textOf(finding)}\n`);
    if (failed && findings.length === 0) return warn(failureText(progress));
    print(`Check complete, ${countOf(findings.length)}\n`);
  },
});

const textOf = ({ rule, message, excerpt }: Finding): string =>
  `WARNING: ${rule} - ${urlOf(rule)}\n${message}\n${excerpt === undefined ? "" : `${excerpt}\n`}`;

/** `JSONArgsRecommended` is at `json-args-recommended`. */
const urlOf = (rule: string): string => {
  const words = rule
    .replaceAll(/([a-z])([A-Z])/g, "$1-$2")
    .replaceAll(/([A-Z])([A-Z][a-z])/g, "$1-$2");
  return `https://docs.docker.com/go/dockerfile/rule/${words.toLowerCase()}/`;
};

const countOf = (count: number): string => {
  if (count === 0) return "no warnings found.";
  return count === 1 ? "1 warning has been found!" : `${count} warnings have been found!`;
};
