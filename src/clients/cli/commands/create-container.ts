/** Creating a container, with the pull it may need: what `run` and `create` share. */
import { invalid, sentenceOf } from "#base";
import { ApiError, createContainer, type ApiClient } from "#clients/api-client";
import type { ContainerCreateResponse } from "#wire/docker";

import { noteMissing } from "./failure.ts";
import { proxyVariables } from "../config/proxies.ts";
import type { Session } from "../config/session.ts";
import type { Flags } from "../flags/spec.ts";
import type { ContainerRequest } from "../options/container-request.ts";
import { STDERR, STDOUT, warn } from "../terminal/stdio.ts";
import { windowSize } from "../terminal/tty.ts";

/** Creates the container that `request` describes and prints the daemon's warnings. @returns its id */
export async function create(
  session: Session,
  flags: Flags,
  request: ContainerRequest,
): Promise<string> {
  const pullWhen = flags.string("pull");
  if (!["always", "missing", "never"].includes(pullWhen)) {
    throw invalid(
      `invalid pull option: '${pullWhen}': must be one of "always", "missing" or "never"`,
    );
  }
  await checkImage(request.config.Image ?? "");
  const cidFile = flags.string("cidfile");
  if (cidFile !== "") refuseExisting(cidFile);
  for (const warning of request.warnings) session.warn(warning);
  const client = await session.client();
  addProxies(session, client, request);
  if (request.config.Tty === true) addConsoleSize(request);

  const addCredentials = flags.bool("use-api-socket")
    ? await (await import("./api-socket.ts")).addApiSocket(session, request)
    : undefined;
  if (pullWhen === "always") await pullFor(session, flags, request);
  const created = await createOrPull({ session, flags, request, client });
  const warnings = [...(created.Warnings ?? [])];
  await addCredentials?.(client, created.Id).catch((cause: unknown) =>
    warnings.push(sentenceOf(cause)),
  );
  for (const warning of warnings) session.warn(`WARNING: ${warning}`);
  if (cidFile !== "") writeId(cidFile, created.Id);
  return created.Id;
}

const PLAIN_NAME = /^[a-z0-9][a-z0-9./]*(?::[\w.]+)?$|^(?:sha256:)?[a-f0-9]{64}$/;

/** A name that cannot be one is refused before the daemon is asked. */
async function checkImage(image: string): Promise<void> {
  if (PLAIN_NAME.test(image)) return;
  const { parseReference } = await import("../options/reference.ts");
  parseReference(image);
}

interface Creation {
  readonly session: Session;
  readonly flags: Flags;
  readonly request: ContainerRequest;
  readonly client: ApiClient;
}

async function createOrPull(creation: Creation): Promise<ContainerCreateResponse> {
  const { session, flags, request, client } = creation;
  try {
    return await createContainer(client, request);
  } catch (cause) {
    if (!isMissingImage(cause) || flags.string("pull") !== "missing") throw cause;
  }
  const { familiarString, parseReference } = await import("../options/reference.ts");
  const name = familiarString(parseReference(request.config.Image ?? ""));
  if (!flags.bool("quiet")) warn(`Unable to find image '${name}' locally`);
  try {
    await pullFor(session, flags, request);
  } catch (cause) {
    noteMissing({ kind: "image", name });
    throw cause;
  }
  return createContainer(client, request);
}

/** Any "not found" makes docker pull: an image of another platform is one, too. */
const isMissingImage = (cause: unknown): boolean =>
  cause instanceof ApiError && cause.status === 404;

async function pullFor(session: Session, flags: Flags, request: ContainerRequest): Promise<void> {
  const { pull } = await import("./pull-image.ts");
  await pull(session, {
    image: request.config.Image ?? "",
    platform: request.platform,
    quiet: flags.bool("quiet"),
    fd: STDERR,
  });
}

/** So that the terminal has its size from the first instant. */
function addConsoleSize(request: ContainerRequest): void {
  const size = windowSize(STDOUT);
  if (size === undefined) return;
  request.config.HostConfig = {
    ...request.config.HostConfig,
    ConsoleSize: [size.rows, size.columns],
  };
}

/** `proxies` of config.json become variables of the container, unless the user set them. */
function addProxies(session: Session, client: ApiClient, request: ContainerRequest): void {
  const { config } = request;
  const taken = new Set((config.Env ?? []).map((pair) => pair.split("=", 1)[0]));
  const added = proxyVariables(session.config, client)
    .filter(([variable]) => !taken.has(variable))
    .map(([variable, value]) => `${variable}=${value}`);
  if (added.length > 0) config.Env = [...(config.Env ?? []), ...added];
}

function refuseExisting(path: string): void {
  if (process.getBuiltinModule("node:fs").existsSync(path)) {
    throw invalid(
      `container ID file found, make sure the other container isn't running or delete ${path}`,
    );
  }
}

function writeId(path: string, id: string): void {
  try {
    process.getBuiltinModule("node:fs").writeFileSync(path, id, { flag: "wx" });
  } catch (cause) {
    throw invalid(`failed to create the container ID file: ${sentenceOf(cause)}`, { cause });
  }
}
