/** What stands before the first FROM, and what every build knows of its platforms. */
import { type Dockerfile, expandWord } from "#engine/build/dockerfile";
import { formatPlatform, hostPlatform, type Platform } from "#oci";

import type { BuildRequest } from "./build-service.ts";

/** ARG before the first FROM, with what every build knows of its platforms. */
export function globalArguments(
  file: Dockerfile,
  { buildArgs, target }: BuildRequest,
  platform: Platform,
): Record<string, string> {
  const host = hostPlatform();
  const values: Record<string, string> = {
    ...platformValues("BUILD", host),
    ...platformValues("TARGET", platform),
    TARGETSTAGE: target === "" ? "default" : target,
  };
  for (const [name, value] of Object.entries(buildArgs)) {
    if (name in values && value !== null) values[name] = value;
  }
  for (const instruction of file.globalArguments) {
    for (const { name, value } of instruction.arguments) {
      const given = buildArgs[name];
      if (typeof given === "string") values[name] = given;
      else if (value !== null) values[name] = expandWord(value, values, file.escape).text;
    }
  }
  return values;
}

const platformValues = (prefix: string, platform: Platform): Record<string, string> => ({
  [`${prefix}PLATFORM`]: formatPlatform(platform),
  [`${prefix}OS`]: platform.os,
  [`${prefix}OSVERSION`]: platform["os.version"] ?? "",
  [`${prefix}ARCH`]: platform.architecture,
  [`${prefix}VARIANT`]: platform.variant ?? "",
});
