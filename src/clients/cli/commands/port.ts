/** `naru port`. */
import { invalid, notFound } from "#base";
import { inspectContainer } from "#clients/api-client";
import type { PortBinding } from "#wire/docker";

import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { JSON_FLAG } from "./shared-flags.ts";

export const port: Command = {
  flags: [JSON_FLAG],
  async run({ args, flags, session }) {
    const [container = "", asked] = args;
    const { NetworkSettings: network } = await inspectContainer(await session.client(), container);
    const ports = network.Ports ?? {};
    if (asked === undefined && flags.bool("json")) {
      printLine(JSON.stringify(ports));
      return 0;
    }
    if (asked === undefined) {
      const lines = Object.entries(ports).flatMap(([name, bindings]) =>
        (bindings ?? []).map((binding) => `${name} -> ${addressOf(binding)}`),
      );
      print(
        lines
          .toSorted(naturally)
          .map((line) => `${line}\n`)
          .join(""),
      );
      return 0;
    }
    const [number = "", protocol = "tcp"] = asked.split("/");
    if (!/^\d+(?:-\d+)?$/.test(number)) {
      const quoted = JSON.stringify(number);
      throw invalid(
        `Error: invalid port (${number}): strconv.ParseUint: parsing ${quoted}: invalid syntax`,
      );
    }
    const bindings = ports[`${number}/${protocol}`];
    if (bindings === undefined || bindings === null) {
      throw notFound(`Error: No public port '${asked}' published for ${container}`);
    }
    if (flags.bool("json")) {
      printLine(JSON.stringify(bindings));
      return 0;
    }
    const lines = bindings.map(addressOf).toSorted(naturally);
    print(lines.map((line) => `${line}\n`).join(""));
    return 0;
  },
};

const addressOf = ({ HostIp: ip, HostPort: number }: PortBinding): string =>
  ip.includes(":") ? `[${ip}]:${number}` : `${ip}:${number}`;

/** Numbers in names by value: 80/tcp before 443/tcp. */
function naturally(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => text.match(/\d+|\D+/g) ?? []);
  for (let index = 0; index < Math.min(a?.length ?? 0, b?.length ?? 0); index += 1) {
    const [x = "", y = ""] = [a?.[index], b?.[index]];
    if (x === y) continue;
    if (/^\d/.test(x) && /^\d/.test(y)) return Number(x) - Number(y);
    return x < y ? -1 : 1;
  }
  return left.length - right.length;
}
