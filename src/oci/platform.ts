/**
 * Platforms: what this machine is, and which manifest of an index suits one best.
 * Spec: OCI image-spec 1.1, image-index.md, "platform"; the choice is containerd's, which Docker uses.
 */
import { invalid } from "#base";

import type { Descriptor, Platform } from "./image-spec.ts";

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  x64: "amd64",
  aarch64: "arm64",
  i386: "386",
  i686: "386",
  ia32: "386",
  armhf: "arm",
  armel: "arm",
};

/** One spelling for each platform: `x86_64` is amd64, arm64's `v8` and arm's `v7` go without saying. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const given = platform.architecture.toLowerCase();
  const architecture = ARCHITECTURES[given] ?? given;
  const variant = variantOf(architecture, given, platform.variant?.toLowerCase() ?? "");
  return { os, architecture, ...(variant === "" ? {} : { variant }) };
}

function variantOf(architecture: string, given: string, variant: string): string {
  switch (architecture) {
    case "amd64":
      return variant === "v1" ? "" : variant;
    case "arm64":
      return variant === "8" || variant === "v8" ? "" : variant;
    case "arm": {
      if (given === "armel") return "v6";
      if (variant === "") return "v7";
      return /^[5-8]$/.test(variant) ? `v${variant}` : variant;
    }
    default:
      return variant;
  }
}

/** This machine's platform. */
export const hostPlatform = (): Platform =>
  normalizePlatform({ os: "linux", architecture: process.arch });

const COMPONENT = /^[A-Za-z0-9_.-]+$/;

/** @throws EngineError "invalid" in the words of containerd's platforms */
function checkComponent(text: string, part: string, index: number): void {
  if (COMPONENT.test(part)) return;
  const [shown, whole] = [JSON.stringify(part), JSON.stringify(text)];
  throw invalid(
    index === 0
      ? `${shown} is an invalid OS component of ${whole}: OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$": invalid argument`
      : `${shown} is an invalid component of ${whole}: platform specifier component must match "${COMPONENT.source}": invalid argument`,
  );
}

/** `linux/arm64/v8` or `arm64`, as `--platform` takes them. @throws EngineError "invalid" */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  if (parts.length > 3) {
    throw invalid(`${JSON.stringify(text)}: cannot parse platform specifier: invalid argument`);
  }
  for (const [index, part] of parts.entries()) checkComponent(text, part, index);
  const [first = "", second, third] = parts;
  if (second !== undefined) {
    return normalizePlatform({
      os: first,
      architecture: second,
      ...(third === undefined ? {} : { variant: third }),
    });
  }
  const host = hostPlatform();
  return first.toLowerCase() === "linux"
    ? host
    : normalizePlatform({ os: host.os, architecture: first });
}

/** `linux/amd64`, `linux/arm/v7`. */
export const formatPlatform = ({ os, architecture, variant }: Platform): string =>
  [os, architecture, ...(variant ? [variant] : [])].join("/");

/** What can run on a platform, best first: an arm/v7 machine also runs arm/v6. */
function suitable(platform: Platform): string[] {
  const { os, architecture, variant = "" } = normalizePlatform(platform);
  const forms: [string, string][] = [];
  const level = Number(variant.slice(1)) || 0;
  switch (architecture) {
    case "amd64":
      for (let lower = level; lower >= 2; lower -= 1) forms.push(["amd64", `v${lower}`]);
      forms.push(["amd64", ""], ["386", ""]);
      break;
    case "arm64":
      if (variant !== "") forms.push(["arm64", variant]);
      forms.push(["arm64", ""], ["arm", "v8"], ["arm", "v7"], ["arm", "v6"], ["arm", "v5"]);
      break;
    case "arm":
      for (let lower = level; lower >= 5; lower -= 1) forms.push(["arm", `v${lower}`]);
      break;
    default:
      forms.push([architecture, variant]);
  }
  return forms.map(([architecture, variant]) => formatPlatform({ os, architecture, variant }));
}

/** How well `candidate` suits `wanted`: 0 is best, null is not at all. */
export function platformRank(wanted: Platform, candidate: Platform): number | null {
  const rank = suitable(wanted).indexOf(formatPlatform(normalizePlatform(candidate)));
  return rank === -1 ? null : rank;
}

/** The manifest of an index for a platform: the best match, the first of equals. null: none. */
export function chooseManifest(
  manifests: readonly Descriptor[],
  wanted: Platform,
): Descriptor | null {
  let best: Descriptor | null = null;
  let bestRank = Number.POSITIVE_INFINITY;
  for (const descriptor of manifests) {
    if (!descriptor.platform) continue;
    const rank = platformRank(wanted, descriptor.platform);
    if (rank === null || rank >= bestRank) continue;
    best = descriptor;
    bestRank = rank;
  }
  return best;
}
