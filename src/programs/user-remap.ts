/**
 * `--userns-remap`: whose subordinate ids containers have. "default" is the user dockremap, made when it is not there,
 * as dockerd does; else user[:group], by name or number. Source: subuid(5), subgid(5).
 */
import { appendFileSync, readFileSync } from "node:fs";

import { invalid, unavailable } from "#base";
import type { UserRemap } from "#engine/container";

const DEFAULT_USER = "dockremap";
const RANGE = 65_536;
const FIRST_ID = 100_000;
const ID_LIMIT = 2 ** 32 - 1;
/** The kernel's own: more lines than this in one map are refused. */
const MAP_LIMIT = 340;
/** A file of millions of lines is somebody's mistake, or attack. */
const FILE_LIMIT_BYTES = 4 * 1024 * 1024;

export interface IdFiles {
  readonly passwd: string;
  readonly group: string;
  readonly subuid: string;
  readonly subgid: string;
}

type Maps = UserRemap["uids"];

interface Named {
  readonly name: string;
  readonly id: number;
}

const linesOf = (text: string): string[][] =>
  text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));

function find(text: string, wanted: string): Named | null {
  for (const [name = "", , id = ""] of linesOf(text)) {
    if (name === wanted || (/^\d+$/.test(wanted) && Number(id) === Number(wanted))) {
      return { name, id: Number(id) };
    }
  }
  return null;
}

/** One after the other from 0 on, lowest first. @throws EngineError for lines that are no ranges */
function mapsOf(text: string, owners: readonly string[], file: string): Maps {
  const ranges = linesOf(text).flatMap(([owner = "", start = "", length = ""]) => {
    if (!owners.includes(owner)) return [];
    const range = { hostID: Number(start), size: Number(length) };
    const digits = /^\d{1,10}$/;
    if (!digits.test(start) || !digits.test(length) || range.hostID + range.size > ID_LIMIT) {
      throw invalid(`Can't create ID mappings: ${file}: ${owner}:${start}:${length} is no range`);
    }
    return range.size === 0 ? [] : [range];
  });
  let containerID = 0;
  let end = 0;
  return ranges
    .toSorted((one, other) => one.hostID - other.hostID)
    .slice(0, MAP_LIMIT)
    .map(({ hostID, size }) => {
      // The kernel would refuse every start.
      if (hostID < end) throw invalid(`Can't create ID mappings: ${file}: ranges overlap`);
      end = hostID + size;
      const map = { containerID, hostID, size };
      containerID += size;
      return map;
    });
}

/** Pure: the maps of `user[:group]`. @throws EngineError "invalid" in dockerd's words */
export function parseUserRemap(asked: string, files: IdFiles): UserRemap {
  const [user = "", group, more] = asked.split(":");
  if (user === "" || group === "" || more !== undefined) {
    throw invalid(`invalid user/group specification in --userns-remap: "${asked}"`);
  }
  const owner = find(files.passwd, user);
  if (owner === null) throw invalid(`Error during uid lookup for "${user}": no such user`);
  const owners = [owner.name, String(owner.id)];
  const uids = mapsOf(files.subuid, owners, "/etc/subuid");
  if (uids.length === 0) {
    throw invalid(`Can't create ID mappings: no subuid ranges found for user "${owner.name}"`);
  }
  const team = find(files.group, group ?? owner.name);
  if (group !== undefined && team === null) {
    throw invalid(`Error during gid lookup for "${group}": no such group`);
  }
  // The file names users; groups stand there in older set-ups.
  const ofTeam = team === null ? [] : mapsOf(files.subgid, [team.name], "/etc/subgid");
  const gids = ofTeam.length > 0 ? ofTeam : mapsOf(files.subgid, owners, "/etc/subgid");
  if (gids.length === 0) {
    const name = team?.name ?? owner.name;
    throw invalid(`Can't create ID mappings: no subgid ranges found for group "${name}"`);
  }
  // Root inside that is root outside would be no remapping at all.
  const isOwn = [...uids, ...gids].some(({ hostID }) => hostID === 0);
  if (isOwn) throw invalid("Can't create ID mappings: a range holds the host's own root");
  return { uids, gids };
}

/** The first range of ids above all others of the file. */
export function nextRange(text: string): number {
  const ends = linesOf(text).map(([, start = "", length = ""]) => Number(start) + Number(length));
  return Math.max(FIRST_ID, ...ends.filter(Number.isSafeInteger));
}

/**
 * The maps of the flag on this host; null: none.
 * @param onlyChecks the default user is not made: null while there is none @throws EngineError
 */
export function readUserRemap(asked: string | null, onlyChecks: boolean): UserRemap | null {
  if (asked === null) return null;
  if (asked !== "default") return parseUserRemap(asked, readFiles());
  if (onlyChecks && find(readFiles().passwd, DEFAULT_USER) === null) return null;
  ensureDefaultUser();
  return parseUserRemap(DEFAULT_USER, readFiles());
}

/** As dockerd, by the host's own program: it knows the locks and formats of these files. */
function ensureDefaultUser(): void {
  if (find(readFiles().passwd, DEFAULT_USER) === null) {
    const command = ["useradd", "--system", "--user-group", "--no-create-home"];
    const shell = ["--shell", "/bin/false", DEFAULT_USER];
    const { exitCode, stderr } = Bun.spawnSync([...command, ...shell], { timeout: 10_000 });
    if (exitCode !== 0) {
      throw unavailable(
        `Error during "${DEFAULT_USER}" user creation: ${stderr.toString().trim()}`,
      );
    }
  }
  const files = readFiles();
  for (const [path, text] of [
    ["/etc/subuid", files.subuid],
    ["/etc/subgid", files.subgid],
  ] as const) {
    if (linesOf(text).some(([name]) => name === DEFAULT_USER)) continue;
    const gap = text === "" || text.endsWith("\n") ? "" : "\n";
    appendFileSync(path, `${gap}${DEFAULT_USER}:${nextRange(text)}:${RANGE}\n`);
  }
}

const readFiles = (): IdFiles => ({
  passwd: read("/etc/passwd"),
  group: read("/etc/group"),
  subuid: read("/etc/subuid"),
  subgid: read("/etc/subgid"),
});

function read(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw unavailable(`cannot read ${path}`, { cause });
  }
  if (text.length > FILE_LIMIT_BYTES) throw unavailable(`${path} is too large`);
  return text;
}
