/** The life of a container: everything that answers with JSON or with nothing. */
import { invalid, isId, noSuch, ownTurn } from "#base";
import type {
  Container,
  ContainerService,
  ListedContainer,
  ListRequest,
  WaitCondition,
} from "#engine/container";
import type { ImageService } from "#engine/image";
import type { NetworkService } from "#engine/network";
import { atLeast, type ContainerSummary, type ContainerWait } from "#wire/docker";
import { type Filters, requireFilters } from "#wire/http";

import type { Call } from "./call.ts";
import { decodeCreate } from "./decode/container.ts";
import { encodeInspect } from "./encode/container.ts";
import type { HostDefaults } from "./encode/host-config.ts";
import { encodeSummary } from "./encode/summary.ts";
import type { Routes } from "./routes.ts";

interface Services {
  readonly containers: ContainerService;
  readonly images: Pick<ImageService, "resolve" | "isCalled">;
  readonly networks: Pick<NetworkService, "resolve">;
  readonly defaults: HostDefaults;
  readonly isExperimental: () => boolean;
}

const LIST_FILTERS: ReadonlySet<string> = new Set([
  "ancestor",
  "before",
  "exited",
  "expose",
  "health",
  "id",
  "is-task",
  "isolation",
  "label",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
]);

export function containerRoutes(services: Services): Routes {
  const { containers } = services;
  return {
    "POST /containers/create": (call) => create(call, services),
    "GET /containers/json": (call) => list(call, services),
    "GET /containers/:id/json": (call) => inspect(call, services),
    "GET /containers/:id/top": async (call) => {
      const psArguments = call.query.text("ps_args") || "-ef";
      const { titles, processes } = await containers.top(call.param("id"), psArguments);
      call.json(200, { Titles: titles, Processes: processes });
    },
    // Ours, not Docker's: what `naru run --explain` shows.
    "GET /containers/:id/explain": async (call) => {
      call.text(await containers.explain(call.param("id")), {});
    },
    "POST /containers/:id/start": (call) => start(call, services),
    "POST /containers/:id/stop": async (call) => {
      await containers.stop(call.param("id"), stopRequest(call));
      call.empty(204);
    },
    "POST /containers/:id/restart": async (call) => {
      await containers.restart(call.param("id"), stopRequest(call));
      call.empty(204);
    },
    "POST /containers/:id/kill": async (call) => {
      await containers.kill(call.param("id"), call.query.text("signal"));
      call.empty(204);
    },
    "POST /containers/:id/pause": async (call) => {
      await containers.pause(call.param("id"));
      call.empty(204);
    },
    "POST /containers/:id/unpause": async (call) => {
      await containers.unpause(call.param("id"));
      call.empty(204);
    },
    "POST /containers/:id/rename": async (call) => {
      const name = call.query.text("name");
      if (name === "") throw invalid("Neither old nor new names may be empty");
      await containers.rename(call.param("id"), name);
      call.empty(204);
    },
    "POST /containers/:id/resize": async (call) => {
      await containers.resize(call.param("id"), sizeOf(call));
      call.empty(200);
    },
    "POST /containers/:id/wait": (call) => wait(call, containers),
    "DELETE /containers/:id": (call) => remove(call, containers),
    // A link's name has a slash in it.
    "DELETE /containers/:parent/:alias": (call) => {
      const name = `${call.param("parent")}/${call.param("alias")}`;
      if (call.query.bool("link")) return unlink(call, containers, name);
      throw noSuch("container", name);
    },
  };
}

async function create(call: Call, { containers, defaults }: Services): Promise<void> {
  const request = decodeCreate(await call.requireBody(), {
    name: call.query.text("name"),
    platform: call.query.text("platform"),
    apiVersion: call.version,
    ipcMode: defaults.ipcMode,
    cgroupnsMode: defaults.cgroupnsMode,
  });
  const { id, warnings } = await containers.create(request);
  call.json(201, { Id: id, Warnings: warnings });
}

async function start(call: Call, { containers, isExperimental }: Services): Promise<void> {
  const { "content-length": length = "0", "transfer-encoding": encoding } = call.request.headers;
  // Very old clients sent a HostConfig here; no object with a field in it is shorter than Docker's 7 characters.
  if (Number(length) > 7 || (encoding !== undefined && length === "0")) {
    throw invalid(
      "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
    );
  }
  const checkpoint = call.query.text("checkpoint");
  if (checkpoint !== "" && !isExperimental()) {
    throw invalid("checkpoint is only supported in experimental mode");
  }
  const checkpointDirectory = call.query.text("checkpoint-dir");
  await containers.start(call.param("id"), { checkpoint, checkpointDirectory });
  call.empty(204);
}

function stopRequest(call: Call): { timeoutSeconds: number | null; signal: string | null } {
  // Before 1.42 a signal here was not known, and passed over.
  const signal = atLeast(call.version, "1.42") ? call.query.text("signal") : "";
  return { timeoutSeconds: call.query.integer("t"), signal: signal === "" ? null : signal };
}

const SIZE_LIMIT = 65_535;

/** A terminal's size. @throws EngineError "invalid" */
export function sizeOf(call: Call): { columns: number; rows: number } {
  const number = (name: string, what: string) => {
    const text = call.query.text(name);
    const isNumber = /^-?\d+$/.test(text);
    if (isNumber && !text.startsWith("-") && Number(text) <= SIZE_LIMIT) return Number(text);
    const why = isNumber ? "value out of range" : "invalid syntax";
    throw invalid(`invalid resize ${what} ${JSON.stringify(text)}: ${why}`);
  };
  return { rows: number("h", "height"), columns: number("w", "width") };
}

async function unlink(call: Call, containers: ContainerService, name: string): Promise<void> {
  await containers.removeLink(name);
  call.empty(204);
}

async function remove(call: Call, containers: ContainerService): Promise<void> {
  const { query } = call;
  if (query.bool("link")) {
    return unlink(call, containers, call.param("id"));
  }
  await containers.remove(call.param("id"), {
    force: query.bool("force"),
    volumes: query.bool("v"),
  });
  call.empty(204);
}

const WAIT_CONDITIONS: ReadonlySet<string> = new Set<WaitCondition>([
  "not-running",
  "next-exit",
  "removed",
]);
const isWaitCondition = (text: string): text is WaitCondition => WAIT_CONDITIONS.has(text);

/** The head goes out as soon as the wait is registered: `docker run` starts its container only then. */
async function wait(call: Call, containers: ContainerService): Promise<void> {
  const asked = atLeast(call.version, "1.30") ? call.query.text("condition") : "";
  const condition = asked === "" ? "not-running" : asked;
  if (!isWaitCondition(condition)) throw invalid(`invalid condition: "${condition}"`);
  const { result } = containers.wait(call.param("id"), { condition, signal: call.signal });
  const sink = call.begin("application/json");
  const { exitCode, error } = await result;
  await call.settle();
  const answer: ContainerWait = { StatusCode: exitCode };
  if (error !== null) answer.Error = { Message: error };
  sink.end(`${JSON.stringify(answer)}\n`);
}

async function list(call: Call, services: Services): Promise<void> {
  const request = listRequest(call);
  await ownTurn();
  call.json(200, encodeList(call, services, await services.containers.list(request)));
}

/** Containers as `docker ps` reads them. */
export function encodeList(
  call: Call,
  services: Pick<Services, "images" | "networks">,
  listed: readonly ListedContainer[],
): ContainerSummary[] {
  const now = Date.now();
  const names = imageNames(services.images);
  return listed.map((one) =>
    encodeSummary(one, {
      now,
      imageName: names(one.container),
      networkId: (name) => networkIdOf(services.networks, name),
      apiVersion: call.version,
    }),
  );
}

function listRequest(call: Call): ListRequest {
  const filters: Filters = requireFilters(call.query.filters(), LIST_FILTERS);
  const limit = call.query.integer("limit") ?? 0;
  return {
    all: call.query.bool("all"),
    limit: Math.max(0, limit),
    size: call.query.bool("size"),
    filters,
  };
}

/** The name a container's image was asked by, while it still means that image; then its id. */
function imageNames(images: Services["images"]): (container: Container) => string {
  const meant = new Map<string, boolean>();
  return ({ config: { image }, imageId }) => {
    const key = `${imageId} ${image}`;
    const isMeant = meant.get(key) ?? isCalled(images, imageId, image);
    meant.set(key, isMeant);
    return isMeant || isId(image) ? image : imageId;
  };
}

/** False for what is untagged or removed since. */
function isCalled(images: Services["images"], id: Container["imageId"], name: string): boolean {
  try {
    return images.isCalled(id, name);
  } catch {
    return false;
  }
}

/** "" for a network that is gone: what is listed must not fail over it. */
function networkIdOf(networks: Pick<NetworkService, "resolve">, name: string): string {
  try {
    return networks.resolve(name).id;
  } catch {
    return "";
  }
}

async function inspect(call: Call, { containers, networks, defaults }: Services): Promise<void> {
  const container = containers.resolve(call.param("id"));
  const sizes = call.query.bool("size") ? await containers.sizes(container.id) : null;
  call.json(
    200,
    encodeInspect(container, {
      sizes,
      networkId: (name) => networkIdOf(networks, name),
      defaults,
    }),
  );
}
