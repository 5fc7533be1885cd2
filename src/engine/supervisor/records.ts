/**
 * What a supervisor writes down, so that the next one knows what it owns.
 *
 *   <exec-root>/containers/<id>/            0700; also the driver's scratch folder and the FIFOs
 *     state.json                            what lives there; written before the birth (no pid yet) and after it
 *     spec.json                             the runtime spec, for execs: kept here instead of in memory
 *     exec/<execId>/state.json              the same for an exec
 *   <exec-root>/exits/<id>[.<execId>]       how it ended, durable before anyone is told; until forgotten
 *
 * Every file appears by rename. Exit records are synced; state only has to survive a process, not the machine.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { invalid } from "#base";
import type { LogTarget } from "#engine/log-delivery";
import type { BridgeEndpoint, ContainerDns } from "#engine/network";
import type { RuntimeSpec } from "#oci";

import type { ExitReport, ProcessKey, ProcessReport, StdioRequest } from "./protocol.ts";

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

export interface ProcessState {
  readonly version: 1;
  readonly key: ProcessKey;
  readonly stdio: StdioRequest;
  /** null: the birth was under way. */
  readonly born: {
    readonly pid: number;
    readonly startTime: string;
    readonly bootId: string;
    readonly startedAt: string;
  } | null;
  /** Of a container's init only. */
  readonly container: ContainerState | null;
}

/** What a container's end must clean up, and what its execs need. */
export interface ContainerState {
  readonly runtime: string;
  readonly log: LogTarget;
  readonly cgroupsPath: string;
  readonly endpoints: readonly BridgeEndpoint[];
  readonly dns?: ContainerDns;
  /** It was born with a limit of memory. */
  readonly limitsMemory?: boolean;
}

export interface ExitRecord {
  readonly report: ProcessReport;
}

/** One text per process, safe as a map's key and as a file's name. */
export const nameOf = (key: ProcessKey): string =>
  key.execId === undefined ? key.id : `${key.id}.${key.execId}`;

/** Names become paths: nothing may climb, hide or be empty. @throws EngineError "invalid" */
export function checkKey(key: ProcessKey): ProcessKey {
  for (const part of [key?.id, key?.execId ?? "x"]) {
    if (typeof part !== "string" || !/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(part)) {
      throw invalid("a process is named by an id");
    }
  }
  return key.execId === undefined ? { id: key.id } : { id: key.id, execId: key.execId };
}

const RECENT_SPECS = 16;

export class Records {
  readonly #containers: string;
  readonly #exits: string;
  /** Specs that execs asked for: a container that gets one mostly gets more (health checks, shells). */
  readonly #recent = new Map<string, RuntimeSpec>();

  constructor(execRoot: string) {
    this.#containers = join(execRoot, "containers");
    this.#exits = join(execRoot, "exits");
    for (const folder of [this.#containers, this.#exits]) {
      mkdirSync(folder, { recursive: true, mode: FOLDER_MODE });
    }
  }

  folder(key: ProcessKey): string {
    const container = join(this.#containers, key.id);
    return key.execId === undefined ? container : join(container, "exec", key.execId);
  }

  scratch(key: ProcessKey): string {
    return join(this.folder(key), "scratch");
  }

  /** An empty folder for a process that will be born. */
  makeFolder(key: ProcessKey): string {
    const folder = this.folder(key);
    if (key.execId === undefined) rmSync(folder, { recursive: true, force: true });
    mkdirSync(join(folder, "scratch"), { recursive: true, mode: FOLDER_MODE });
    return folder;
  }

  removeFolder(key: ProcessKey): void {
    if (key.execId === undefined) this.#recent.delete(key.id);
    rmSync(this.folder(key), { recursive: true, force: true });
  }

  writeState(state: ProcessState): void {
    replaceFile(join(this.folder(state.key), "state.json"), JSON.stringify(state));
  }

  writeSpec(id: string, spec: RuntimeSpec): void {
    this.#recent.delete(id);
    replaceFile(join(this.folder({ id }), "spec.json"), JSON.stringify(spec));
  }

  /** @throws an error when the container was never born */
  readSpec(id: string): RuntimeSpec {
    const found = this.#recent.get(id) ?? this.#parseSpec(id);
    // The last one is the most recent.
    this.#recent.delete(id);
    this.#recent.set(id, found);
    for (const oldest of this.#recent.keys()) {
      if (this.#recent.size <= RECENT_SPECS) break;
      this.#recent.delete(oldest);
    }
    return found;
  }

  #parseSpec(id: string): RuntimeSpec {
    return JSON.parse(readFileSync(join(this.folder({ id }), "spec.json"), "utf8"));
  }

  /** Every process that was recorded and not removed: inits before their execs. */
  listStates(): ProcessState[] {
    return list(this.#containers).flatMap((id) => {
      const folder = join(this.#containers, id);
      const execs = list(join(folder, "exec")).map((execId) => join(folder, "exec", execId));
      return [folder, ...execs].flatMap((path) => readJson<ProcessState>(join(path, "state.json")));
    });
  }

  /** Folders without a readable state: a crash before anything was born. */
  removeStrays(): void {
    for (const id of list(this.#containers)) {
      const folder = join(this.#containers, id);
      const isKnown = readJson(join(folder, "state.json")).length > 0;
      if (!isKnown) rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Durable when it returns. */
  writeExit(report: ProcessReport & { readonly exit: ExitReport }): void {
    const path = join(this.#exits, nameOf(report.key));
    const { descriptors: _, ...lasting } = report;
    const temporary = `${path}.tmp`;
    const descriptor = openSync(temporary, "w", FILE_MODE);
    try {
      writeSync(descriptor, JSON.stringify({ report: lasting } satisfies ExitRecord));
      fsyncSync(descriptor);
      renameSync(temporary, path);
    } catch (thrown) {
      rmSync(temporary, { force: true }); // a full disk is not helped by what did not fit
      throw thrown;
    } finally {
      closeSync(descriptor);
    }
    syncFolder(this.#exits);
  }

  listExits(): ExitRecord[] {
    return list(this.#exits)
      .filter((name) => !name.endsWith(".tmp"))
      .flatMap((name) => readJson<ExitRecord>(join(this.#exits, name)));
  }

  removeExit(key: ProcessKey): void {
    const path = join(this.#exits, nameOf(key));
    rmSync(path, { force: true });
    rmSync(`${path}.tmp`, { force: true }); // of a writer that was killed
  }
}

function replaceFile(path: string, content: string): void {
  writeFileSync(`${path}.tmp`, content, { mode: FILE_MODE });
  renameSync(`${path}.tmp`, path);
}

function syncFolder(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw thrown;
  }
}

/** One value, or none when the file is missing or was cut off: renames make that a foreign hand's work. */
function readJson<T>(path: string): T[] {
  try {
    return [JSON.parse(readFileSync(path, "utf8"))];
  } catch {
    return [];
  }
}
