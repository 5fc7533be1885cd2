/** The flags of a swarm's volumes: they travel to the engine, which says what it has of them. */
import { mapOf } from "../options/files.ts";
import type { Flags, FlagSpec } from "../flags/spec.ts";

export const AVAILABILITY_FLAG: FlagSpec = {
  hidden: true,
  name: "availability",
  kind: "string",
  usage: 'Cluster Volume availability ("active", "pause", "drain")',
  fallback: "active",
};

const shownFlags: readonly FlagSpec[] = [
  AVAILABILITY_FLAG,
  { name: "group", kind: "string", usage: "Cluster Volume group (cluster volumes)" },
  { name: "limit-bytes", kind: "bytes", usage: "Minimum size of the Cluster Volume in bytes" },
  { name: "required-bytes", kind: "bytes", usage: "Maximum size of the Cluster Volume in bytes" },
  {
    name: "scope",
    kind: "string",
    usage: 'Cluster Volume access scope ("single", "multi")',
    fallback: "single",
  },
  { name: "secret", kind: "list", shown: "map", usage: "Cluster Volume secrets" },
  {
    name: "sharing",
    kind: "string",
    usage: 'Cluster Volume access sharing ("none", "readonly", "onewriter", "all")',
    fallback: "none",
  },
  {
    name: "topology-preferred",
    kind: "list",
    usage: "A topology that the Cluster Volume would be preferred in",
  },
  {
    name: "topology-required",
    kind: "list",
    usage: "A topology that the Cluster Volume must be accessible from",
  },
  {
    name: "type",
    kind: "string",
    usage: 'Cluster Volume access type ("mount", "block")',
    fallback: "block",
  },
];

/** Not in help: docker, too, shows them only where the engine is in a swarm. */
export const clusterFlags: readonly FlagSpec[] = shownFlags.map((flag) => ({
  ...flag,
  hidden: true,
}));

/** `ClusterVolumeSpec`; undefined for a volume of this engine alone. */
export function clusterSpec(flags: Flags): object | undefined {
  if (!clusterFlags.some(({ name }) => flags.changed(name))) return undefined;
  const segments = (name: string) =>
    flags.list(name).map((topology) => ({ Segments: mapOf(topology.split(",")) }));
  const type = flags.string("type");
  return {
    Group: flags.string("group"),
    AccessMode: {
      Scope: flags.string("scope"),
      Sharing: flags.string("sharing"),
      ...(type === "mount" ? { MountVolume: {} } : { BlockVolume: {} }),
    },
    Secrets: Object.entries(mapOf(flags.list("secret"))).map(([Key, Secret]) => ({ Key, Secret })),
    CapacityRange: {
      RequiredBytes: flags.number("required-bytes"),
      LimitBytes: flags.number("limit-bytes"),
    },
    AccessibilityRequirements: {
      Requisite: segments("topology-required"),
      Preferred: segments("topology-preferred"),
    },
    Availability: flags.string("availability"),
  };
}
