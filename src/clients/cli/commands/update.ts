/** `naru update`: the limits and the restart policy of containers that exist. */
import { invalid } from "#base";
import { updateContainer, type UpdateOptions } from "#clients/api-client";

import type { FlagSpec, Flags } from "../flags/spec.ts";
import { restartPolicy } from "../options/container-request.ts";
import { printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { containerFlags } from "./container-flags.ts";
import { forEachArgument } from "./each.ts";

/** The field of the API by the flag that sets it. */
const FIELDS = {
  "blkio-weight": "BlkioWeight",
  "cpu-period": "CpuPeriod",
  "cpu-quota": "CpuQuota",
  "cpu-rt-period": "CpuRealtimePeriod",
  "cpu-rt-runtime": "CpuRealtimeRuntime",
  "cpu-shares": "CpuShares",
  cpus: "NanoCpus",
  "cpuset-cpus": "CpusetCpus",
  "cpuset-mems": "CpusetMems",
  memory: "Memory",
  "memory-reservation": "MemoryReservation",
  "memory-swap": "MemorySwap",
  "pids-limit": "PidsLimit",
} as const satisfies Record<string, keyof UpdateOptions>;

type FieldFlag = keyof typeof FIELDS;
const names = Object.keys(FIELDS) as FieldFlag[];

/** The words of `run`, with docker's own of `update` where they differ. */
const flagsOf = (): FlagSpec[] =>
  containerFlags("creating")
    .filter(({ name }) => name === "restart" || names.some((known) => known === name))
    .map((flag) => {
      switch (flag.name) {
        case "cpu-rt-period":
        case "cpu-rt-runtime":
          return { ...flag, usage: flag.usage.replace("Limit CPU", "Limit the CPU") };
        case "memory-swap":
          return { ...flag, usage: flag.usage.replace("'-1'", "-1") };
        case "restart":
          return { ...flag, fallback: "" };
        default:
          return flag;
      }
    });

export const update: Command = {
  flags: flagsOf(),
  async run({ flags, args, session }) {
    const options = updateOptions(flags);
    if (Object.keys(options).length === 0) {
      throw invalid("you must provide one or more flags when using this command");
    }
    const client = await session.client();
    const warnings: string[] = [];
    const code = await forEachArgument(
      args,
      async (id) => {
        const answer = await updateContainer(client, id, options);
        warnings.push(...(answer.Warnings ?? []));
      },
      printLine,
    );
    for (const warning of warnings) printLine(warning);
    return code;
  },
};

function updateOptions(flags: Flags): UpdateOptions {
  const text = (name: FieldFlag) => name === "cpuset-cpus" || name === "cpuset-mems";
  const given = names
    .filter((name) => flags.changed(name))
    .map((name) => [FIELDS[name], text(name) ? flags.string(name) : flags.number(name)]);
  return {
    ...(Object.fromEntries(given) as UpdateOptions),
    ...(flags.changed("restart") ? { RestartPolicy: restartPolicy(flags.string("restart")) } : {}),
  };
}
