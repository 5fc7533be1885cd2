/** What a private engine leaves in the kernel, by its tag: processes, mounts, links, tables and cgroups. */
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const TAG = /^naru-test-([0-9a-f]{4})$/;

export interface Traces {
  readonly processes: string[];
  readonly mounts: string[];
  readonly links: string[];
  readonly tables: string[];
  readonly cgroups: string[];
}

const command = (...words: string[]): string => {
  const done = Bun.spawnSync(words, { stdin: "ignore", stderr: "ignore" });
  return done.exitCode === 0 ? done.stdout.toString() : "";
};

const numbersIn = (folder: string): string[] =>
  readdirSync(folder).filter((name) => /^\d+$/.test(name));

/** Every process that belongs to the engine: by a path of its own in the command line, or by its cgroups. */
function processesOf(tag: string): { pid: number; text: string }[] {
  const found: { pid: number; text: string }[] = [];
  for (const pid of numbersIn("/proc")) {
    try {
      const text = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      const cgroups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
      if (text.includes(`/naru-test-${tag}`) || cgroups.includes(`/naru-test-${tag}`)) {
        found.push({ pid: Number(pid), text });
      }
    } catch {
      // it ended meanwhile
    }
  }
  return found;
}

const mountsOf = (tag: string): string[] =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target.includes(`/naru-test-${tag}/`));

/** The queue of a container's link, which is a port of no bridge, is noted with its bridge. */
function noteOf(link: string): string {
  try {
    return readFileSync(`/sys/class/net/${link}/ifalias`, "utf8").trim();
  } catch {
    return ""; // it is gone meanwhile
  }
}

/** The bridges, of users' networks too (`narut<tag>-…`), and every link enslaved to them. */
function linksOf(tag: string): string[] {
  const bridge = `narut${tag}`;
  const links = readdirSync("/sys/class/net");
  const bridges = links.filter((name) => name === bridge || name.startsWith(`${bridge}-`));
  return links.filter(
    (name) =>
      bridges.includes(name) ||
      (/^naru.*q$/.test(name) && noteOf(name).startsWith(bridge)) ||
      // Of a namespace made ahead: it is gone with the supervisor.
      (!name.startsWith("narusp") &&
        bridges.some((one) => existsSync(`/sys/class/net/${one}/brif/${name}`))),
  );
}

function cgroupsOf(tag: string): string[] {
  const folders: string[] = [];
  for (const hierarchy of ["", ...readdirSync("/sys/fs/cgroup")]) {
    const parent = join("/sys/fs/cgroup", hierarchy, `naru-test-${tag}`);
    if (existsSync(parent)) folders.push(parent);
  }
  return folders;
}

/** Everything of one engine that is in the kernel now. */
export function tracesOf(tag: string): Traces {
  return {
    processes: processesOf(tag).map(({ pid, text }) => `${pid} ${text}`),
    mounts: mountsOf(tag),
    links: linksOf(tag),
    tables: command("nft", "list", "tables")
      .split("\n")
      .filter((line) => line.includes(`narut${tag}`)),
    cgroups: cgroupsOf(tag),
  };
}

const THAWED = [
  ["freezer.state", "THAWED"],
  ["cgroup.freeze", "0"],
] as const;

function removeCgroup(folder: string): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(folder, entry.name));
  }
  try {
    // What a container ran, and its supervisor did not live to end; frozen, it would not die.
    for (const [file, thawed] of THAWED) {
      if (existsSync(join(folder, file))) writeFileSync(join(folder, file), thawed);
    }
    for (const pid of readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n")) {
      if (pid !== "" && pid !== "0") process.kill(Number(pid), "SIGKILL");
    }
    rmdirSync(folder);
  } catch {
    // a process is still leaving; the next pass takes it
  }
}

/** Of 20 ms: how long what was killed may take to be gone, on any machine. */
const ROUNDS = 1000;

/** Ends and removes everything of one engine. May run twice. */
export async function removeTraces({ tag }: { tag: string }): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    const processes = processesOf(tag).filter(({ pid }) => pid !== process.pid);
    if (processes.length === 0) break;
    for (const { pid } of processes) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended meanwhile
      }
    }
    await Bun.sleep(20);
  }
  for (const target of mountsOf(tag).toReversed()) command("umount", "-l", target);
  for (const link of linksOf(tag)) command("ip", "link", "delete", link);
  for (const line of tracesOf(tag).tables) {
    const [, family = "", name = ""] = line.split(" ");
    command("nft", "delete", "table", family, name);
  }
  for (let round = 0; round < ROUNDS && cgroupsOf(tag).length > 0; round += 1) {
    if (round > 0) await Bun.sleep(20);
    for (const folder of cgroupsOf(tag)) removeCgroup(folder);
  }
}

const YOUNG_MS = 60_000;
const isYoung = (path: string): boolean => {
  const made = statSync(path, { throwIfNoEntry: false });
  return made === undefined || Date.now() - made.mtimeMs < YOUNG_MS;
};

/** Removes what earlier runs left whose owner is gone. */
export async function removeLeftovers(): Promise<void> {
  for (const name of readdirSync("/tmp")) {
    const tag = TAG.exec(name)?.[1];
    if (tag === undefined) continue;
    const root = join("/tmp", name);
    let owner = 0;
    try {
      owner = Number(readFileSync(join(root, "owner.pid"), "utf8"));
    } catch {
      if (isYoung(root)) continue; // it is being made, by another process
    }
    if (owner > 0 && existsSync(`/proc/${owner}`)) continue;
    await removeTraces({ tag });
    for (const volatile of ["/run", "/dev/shm"]) {
      rmSync(join(volatile, name), { recursive: true, force: true });
    }
    rmSync(root, { recursive: true, force: true });
  }
}
