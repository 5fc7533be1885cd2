/** The flags of `naru build`: Docker's, as far as the engine honours them, and our own. */
import type { FlagSpec } from "../flags/spec.ts";
import {
  ADD_HOST_FLAG,
  CPUSET_CPUS_FLAG,
  CPUSET_MEMS_FLAG,
  MEMORY_FLAG,
  MEMORY_SWAP_FLAG,
  ULIMIT_FLAG,
} from "../commands/process-flags.ts";
import { checkLabel } from "../options/checks.ts";
import { parseReference } from "../options/reference.ts";

const ON_FAIL = ["none", "shell"];
const PROGRESS = ["auto", "plain", "tty", "rawjson", "quiet"];

export const buildFlags: readonly FlagSpec[] = [
  ADD_HOST_FLAG,
  {
    name: "allow",
    kind: "strings",
    usage: "Allow extra privileged entitlement (e.g., network.host, security.insecure)",
  },
  {
    name: "build-context",
    kind: "list",
    usage: "Additional build contexts (e.g., name=path)",
    check: (value) => {
      if (/^[^=]+=./.test(value)) return value;
      throw new Error(`invalid context value: ${value}, expected key=value`);
    },
  },
  { name: "build-arg", kind: "list", usage: "Set build-time variables" },
  {
    name: "cache-from",
    kind: "list",
    usage: 'External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")',
  },
  {
    name: "cache-to",
    kind: "list",
    usage: 'Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")',
  },
  { name: "cgroup-parent", kind: "string", usage: "Set the parent cgroup for RUN instructions" },
  { name: "check", kind: "bool", usage: "Only check the Dockerfile" },
  {
    name: "cpu-period",
    kind: "int64",
    usage: "Limit the CPU CFS (Completely Fair Scheduler) period",
  },
  {
    name: "cpu-quota",
    kind: "int64",
    usage: "Limit the CPU CFS (Completely Fair Scheduler) quota",
  },
  { name: "compress", kind: "bool", usage: "Compress the build context using gzip" },
  { name: "cpu-shares", shorthand: "c", kind: "int64", usage: "CPU shares (relative weight)" },
  CPUSET_CPUS_FLAG,
  CPUSET_MEMS_FLAG,
  {
    name: "explain",
    kind: "bool",
    usage: "Say for every step why it was or was not in the cache",
  },
  {
    name: "file",
    shorthand: "f",
    kind: "string",
    usage: 'Name of the Dockerfile (default "PATH/Dockerfile")',
    values: "files",
  },
  { name: "iidfile", kind: "string", usage: "Write the image ID to a file", values: "files" },
  { name: "isolation", kind: "string", usage: "Container isolation technology" },
  { name: "label", kind: "list", usage: "Set metadata for an image", check: checkLabel },
  MEMORY_FLAG,
  MEMORY_SWAP_FLAG,
  {
    name: "metadata-file",
    kind: "string",
    usage: "Write build result metadata to a file",
    values: "files",
  },
  {
    name: "network",
    kind: "string",
    usage: "Set the networking mode for the RUN instructions during build",
    fallback: "default",
  },
  { name: "no-cache", kind: "bool", usage: "Do not use cache when building the image" },
  { name: "no-cache-filter", kind: "strings", usage: "Do not cache specified stages" },
  {
    name: "on-fail",
    kind: "string",
    usage: 'What a failed RUN leads to ("shell": one in what it has left, "none")',
    fallback: "none",
    values: ON_FAIL,
    check: (value) => {
      if (ON_FAIL.includes(value)) return value;
      throw new Error(`invalid value ${value}: one of ${ON_FAIL.join(", ")}`);
    },
  },
  {
    name: "output",
    shorthand: "o",
    kind: "list",
    usage: "Output destination (format: type=local,dest=path)",
  },
  { name: "platform", kind: "string", usage: "Set platform for the build" },
  {
    name: "progress",
    kind: "string",
    usage: "Set type of progress output (auto, plain, tty, rawjson, quiet)",
    fallback: "auto",
    values: PROGRESS,
    check: (value) => {
      if (PROGRESS.includes(value)) return value;
      throw new Error(`invalid progress mode ${value}`);
    },
  },
  { name: "pull", kind: "bool", usage: "Always attempt to pull all referenced images" },
  {
    name: "quiet",
    shorthand: "q",
    kind: "bool",
    usage: "Suppress the build output and print image ID on success",
  },
  {
    name: "secret",
    kind: "list",
    usage: "Secret to expose to the build (format: id=mysecret[,src=/local/secret])",
  },
  { name: "security-opt", kind: "list", usage: "Security options" },
  { name: "shm-size", kind: "bytes", usage: "Shared memory size for build containers" },
  { name: "squash", kind: "bool", usage: "Squash newly built layers into a single new layer" },
  {
    name: "ssh",
    kind: "list",
    usage:
      "SSH agent socket or keys to expose to the build (format: default|<id>[=<socket>|<key>[,<key>]])",
  },
  {
    name: "tag",
    shorthand: "t",
    kind: "list",
    usage: 'Image identifier (format: "name[:tag]")',
    check: (value) => {
      parseReference(value);
      return value;
    },
  },
  { name: "target", kind: "string", usage: "Set the target build stage to build" },
  ULIMIT_FLAG,
  // Nothing of a step is left over anyway.
  {
    name: "rm",
    kind: "bool",
    usage: "Remove intermediate containers after a successful build",
    fallback: true,
  },
  {
    name: "force-rm",
    kind: "bool",
    usage: "Always remove intermediate containers",
  },
];
