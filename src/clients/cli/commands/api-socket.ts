/** `--use-api-socket`: a container that may speak to its engine, with the credentials that its maker has. */
import { wrap } from "#base";
import { type ApiClient, writeContainerArchive } from "#clients/api-client";
import { tarStream } from "#wire/tar";

import { allCredentials } from "../config/credentials.ts";
import type { Session } from "../config/session.ts";
import type { ContainerRequest } from "../options/container-request.ts";

/** Where clients look for it. */
const SOCKET = "/var/run/docker.sock";
const CONFIG_DIRECTORY = "/run/secrets/docker";

/** Adds the socket to a request. @returns what puts the credentials into the container once it is made */
export async function addApiSocket(
  session: Session,
  { config }: ContainerRequest,
): Promise<(client: ApiClient, id: string) => Promise<void>> {
  const host = await session.hostText();
  // Docker mounts its own usual place, whatever it talks through; a local socket is its engine's own.
  const source = host.startsWith("unix://") ? host.slice("unix://".length) : SOCKET;
  const mount = { Type: "bind", Source: source, Target: SOCKET, BindOptions: {} } as const;
  config.HostConfig = {
    ...config.HostConfig,
    Mounts: [...(config.HostConfig?.Mounts ?? []), mount],
  };
  // Whoever sets the variable brings a configuration of his own.
  const isConfigured = config.Env?.some((pair) => pair.startsWith("DOCKER_CONFIG=")) === true;
  const auths = isConfigured ? {} : await credentials(session);
  if (Object.keys(auths).length === 0) return async () => undefined;
  config.Env = [...(config.Env ?? []), `DOCKER_CONFIG=${CONFIG_DIRECTORY}`];
  return (client, id) => inject(client, id, JSON.stringify({ auths }, null, "\t"));
}

async function credentials(session: Session) {
  try {
    return await allCredentials(session.config);
  } catch (cause) {
    throw wrap("resolving credentials failed", cause);
  }
}

async function inject(client: ApiClient, id: string, text: string): Promise<void> {
  const archive = tarStream(async (writer) => {
    await writer.add({ name: `${CONFIG_DIRECTORY}/config.json`, mode: 0o600 }, text);
  });
  try {
    await writeContainerArchive(client, id, { path: "/", archive, copyOwner: false });
  } catch (cause) {
    throw wrap("injecting docker config.json into container failed", cause);
  }
}
