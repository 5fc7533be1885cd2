/**
 * Who a program runs as: `--user` and `--group-add` looked up in the container's own /etc/passwd and /etc/group.
 * The files are the image's, so they are opened inside its root by descriptor and read up to a bound.
 * Semantics: moby/sys/user GetExecUser and GetAdditionalGroups, whose sentences these are.
 */
import { EngineError } from "#base";
import { type ReadFileRequest, readFileInRoot } from "#linux/path";
import { SyscallError } from "#linux/ffi";

import type { ProcessSpec } from "#oci";

import { type Identity, RuntimeError } from "./driver.ts";

/** What the kernel is told, and where the program is at home. */
export interface ResolvedIdentity {
  readonly uid: number;
  readonly gid: number;
  /** The primary group first, then the others, each once. */
  readonly groups: readonly number[];
  readonly home: string;
}

const FILE_LIMIT_BYTES = 4 * 1024 * 1024;
const MAXIMUM_ID = 2_147_483_647;

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * @param mayStall whether a file system that is mounted in this root might keep its readers waiting: then what is
 *   mounted over the two files is not read, as Docker never does. Asked only where something is mounted there
 * @throws RuntimeError "failed", in Docker's words
 */
export function resolveIdentity(
  rootFd: number,
  identity: Identity,
  mayStall: () => boolean = () => false,
): ResolvedIdentity {
  const read = (path: string): string[] =>
    readLines({ rootFd, path, limitBytes: FILE_LIMIT_BYTES, mayStall });
  return lookUp(identity, {
    passwd: read("etc/passwd").flatMap(parsePasswd),
    groups: read("etc/group").flatMap(parseGroup),
  });
}

/** The process with its user by the files of its own root, and a HOME. */
export function withIdentity(
  process: ProcessSpec,
  identity: Identity,
  rootFd: number,
  mayStall?: () => boolean,
): ProcessSpec {
  const { uid, gid, groups, home } = resolveIdentity(rootFd, identity, mayStall);
  const hasHome = process.env.some((entry) => entry.startsWith("HOME="));
  const env = hasHome ? process.env : [...process.env, `HOME=${home}`];
  return { ...process, env, user: { ...process.user, uid, gid, additionalGids: [...groups] } };
}

/** Pure: the same over parsed files. */
export function lookUp(
  { user, groups: added }: Identity,
  files: { readonly passwd: readonly PasswdEntry[]; readonly groups: readonly GroupEntry[] },
): ResolvedIdentity {
  const [userName = "", groupName = ""] = user.split(":", 2);
  const wantedUid = userName === "" ? 0 : numberOf(userName);
  const entry = files.passwd.find(
    ({ name, uid }) => (userName !== "" && name === userName) || uid === wantedUid,
  );
  if (entry === undefined && wantedUid === null) {
    throw failed(`unable to find user ${userName}: no matching entries in passwd file`);
  }
  const uid = inRange(entry?.uid ?? wantedUid ?? 0);
  const primary = groupName === "" ? (entry?.gid ?? 0) : gidOf(groupName, files.groups);
  // A group that was named replaces the user's own supplementary groups, as in Docker.
  const own =
    groupName === "" && entry !== undefined
      ? files.groups.filter(({ members }) => members.includes(entry.name)).map(({ gid }) => gid)
      : [];
  const more = added.map((name) => additionalGid(name, files.groups));
  const gid = inRange(primary);
  return { uid, gid, groups: [...new Set([gid, ...own, ...more])], home: entry?.home || "/" };
}

function gidOf(name: string, groups: readonly GroupEntry[]): number {
  const wanted = numberOf(name);
  const found = groups.find((group) => group.name === name || group.gid === wanted);
  const gid = found?.gid ?? wanted;
  if (gid === null) throw failed(`unable to find group ${name}: no matching entries in group file`);
  return gid;
}

function additionalGid(name: string, groups: readonly GroupEntry[]): number {
  const wanted = numberOf(name);
  const found = groups.find((group) => group.name === name || group.gid === wanted);
  const gid = found?.gid ?? wanted;
  if (gid === null) throw failed(`unable to find group ${name}: no matching entries in group file`);
  return inRange(gid);
}

const numberOf = (text: string): number | null => (/^-?\d+$/.test(text) ? Number(text) : null);

function inRange(id: number): number {
  if (id >= 0 && id <= MAXIMUM_ID) return id;
  throw failed(`uids and gids must be in range 0-${MAXIMUM_ID}`);
}

const failed = (sentence: string): RuntimeError => new RuntimeError("failed", sentence);

function readLines(request: ReadFileRequest): string[] {
  try {
    return new TextDecoder().decode(readFileInRoot(request)).split("\n");
  } catch (thrown) {
    // Without these files, or with something else in their place, an image has only numbers, as in Docker.
    if (thrown instanceof SyscallError || thrown instanceof EngineError) return [];
    throw thrown;
  }
}

function parsePasswd(line: string): PasswdEntry[] {
  const [name = "", , uid = "", gid = "", , home = ""] = line.trim().split(":");
  const [user, group] = [numberOf(uid), numberOf(gid)];
  return name === "" || user === null || group === null
    ? []
    : [{ name, uid: user, gid: group, home }];
}

function parseGroup(line: string): GroupEntry[] {
  const [name = "", , gid = "", members = ""] = line.trim().split(":");
  const group = numberOf(gid);
  if (name === "" || group === null) return [];
  return [{ name, gid: group, members: members.split(",").filter((member) => member !== "") }];
}
