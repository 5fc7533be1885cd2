/** Flags that `run`, `build` and `exec` have in the same words: what a process gets, and what it may use. */
import { checkEnv, checkExtraHost, checkUlimit } from "../options/checks.ts";
import type { FlagSpec } from "../flags/spec.ts";

export const ADD_HOST_FLAG: FlagSpec = {
  name: "add-host",
  kind: "list",
  usage: "Add a custom host-to-IP mapping (host:ip)",
  check: checkExtraHost,
};

export const CPUSET_CPUS_FLAG: FlagSpec = {
  name: "cpuset-cpus",
  kind: "string",
  usage: "CPUs in which to allow execution (0-3, 0,1)",
};

export const CPUSET_MEMS_FLAG: FlagSpec = {
  name: "cpuset-mems",
  kind: "string",
  usage: "MEMs in which to allow execution (0-3, 0,1)",
};

export const MEMORY_FLAG: FlagSpec = {
  name: "memory",
  shorthand: "m",
  kind: "bytes",
  usage: "Memory limit",
};

export const MEMORY_SWAP_FLAG: FlagSpec = {
  name: "memory-swap",
  kind: "memory-swap",
  usage: "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
};

export const ULIMIT_FLAG: FlagSpec = {
  name: "ulimit",
  kind: "list",
  shown: "ulimit",
  usage: "Ulimit options",
  fallbackText: "[]",
  check: checkUlimit,
};

export const ENV_FLAG: FlagSpec = {
  name: "env",
  shorthand: "e",
  kind: "list",
  usage: "Set environment variables",
  check: checkEnv(process.env),
};

export const ENV_FILE_FLAG: FlagSpec = {
  name: "env-file",
  kind: "list",
  usage: "Read in a file of environment variables",
  values: "files",
};
