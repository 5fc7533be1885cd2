/** What the engine says of itself as BuildKit. */
import { hostPlatform } from "#oci";

/** The BuildKit whose control API is spoken here. */
export const BUILDKIT = { package: "github.com/moby/buildkit", version: "v0.25.0", revision: "" };

/** @param hostGateway what `host-gateway` of `--add-host` stands for */
export function workers(hostGateway: string | null) {
  const { os, architecture, variant = "" } = hostPlatform();
  return [
    {
      id: "naru",
      labels: {
        "org.mobyproject.buildkit.worker.executor": "containerd",
        // By this word buildx knows that indexes, attestations and caches can be exported here.
        "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
        ...(hostGateway === null
          ? {}
          : { "org.mobyproject.buildkit.worker.moby.host-gateway-ip": hostGateway }),
      },
      platforms: [{ os, architecture, variant }],
      buildkitVersion: BUILDKIT,
    },
  ];
}
