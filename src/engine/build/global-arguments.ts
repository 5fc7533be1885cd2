/** ARG before the first FROM, with what every build knows of its platforms. */
import { EngineError, sentenceOf } from "#base";
import { type Dockerfile, expandWord, FaultyLine } from "#engine/build/dockerfile";
import { formatPlatform, hostPlatform, type Platform } from "#oci";

import type { BuildRequest } from "./build-service.ts";

type Values = Readonly<Record<string, string>>;

export interface GlobalArguments {
  readonly automatic: Values;
  /** All of them. */
  readonly globals: Values;
}

/** @throws FaultyLine */
export function globalArguments(
  file: Dockerfile,
  { buildArgs, target }: Pick<BuildRequest, "buildArgs" | "target">,
  platform: Platform,
): GlobalArguments {
  const automatic: Record<string, string> = {
    ...platformValues("BUILD", hostPlatform()),
    ...platformValues("TARGET", platform),
    TARGETSTAGE: target || file.stages.at(-1)?.name || "default",
  };
  for (const [name, value] of Object.entries(buildArgs)) {
    if (Object.hasOwn(automatic, name) && value !== null) automatic[name] = value;
  }
  const globals = { ...automatic };
  for (const { arguments: declared, location } of file.globalArguments) {
    for (const { name, value } of declared) {
      const given = Object.hasOwn(buildArgs, name) ? buildArgs[name] : null;
      if (typeof given === "string") globals[name] = given;
      else if (value !== null) {
        globals[name] = located(location, () => expandWord(value, globals, file.escape).text);
      }
    }
  }
  return { automatic, globals };
}

/** What is wrong with a value is wrong on these lines. */
export function located<T>(location: FaultyLine["location"], act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof EngineError)) throw cause;
    throw new FaultyLine(location, sentenceOf(cause));
  }
}

const platformValues = (prefix: string, platform: Platform): Record<string, string> => ({
  [`${prefix}PLATFORM`]: formatPlatform(platform),
  [`${prefix}OS`]: platform.os,
  [`${prefix}OSVERSION`]: platform["os.version"] ?? "",
  [`${prefix}ARCH`]: platform.architecture,
  [`${prefix}VARIANT`]: platform.variant ?? "",
});
