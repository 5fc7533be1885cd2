/**
 * The Debian package in a private root: an overlay over this machine, in a mount namespace of its own, so dpkg's
 * database and every file it writes are thrown away. Installed, run, upgraded under a running container, removed, purged.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { baseImage, type Finished, run, VOLATILE } from "./engine.ts";
import { removeTraces } from "./traces.ts";

const REPOSITORY = join(import.meta.dir, "../..");
const tag = crypto.getRandomValues(new Uint8Array(2)).toHex();
const folder = `/tmp/naru-test-${tag}`;
/** The overlay's upper layer cannot lie on what it covers. */
const volatile = `${VOLATILE}/naru-test-${tag}`;
let result: Finished;

/** Runs in the private root, one line of `PART: …` for each thing to look at. */
const script = `
set -e
cd /
part() { echo "PART $1: $(shift; "$@" 2>&1 | tr '\\n' '|')"; }
try() { "$@" && echo yes || echo no; }
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive DOCKER_CONFIG=${folder}/client
naru="naru -H unix://${folder}/naru.sock"
start() {
  naru daemon --data-root ${folder}/data --exec-root ${volatile}/exec -H unix://${folder}/naru.sock \\
    --bridge narut${tag} --cgroup-parent /naru-test-${tag} --pidfile ${folder}/naru.pid >>${folder}/daemon.log 2>&1 &
  daemon=$!
  until $naru version >/dev/null 2>&1; do kill -0 $daemon || { cat ${folder}/daemon.log; exit 1; }; done
}
dpkg -i "$1" >/dev/null
part version naru --version
part group sh -c 'getent group naru | cut -d: -f1'
part validate naru daemon --validate
part completion sh -c 'grep -c __complete /usr/share/bash-completion/completions/naru'
part man sh -c 'zcat /usr/share/man/man8/naru-daemon.8.gz | grep -c shutdown; zcat /usr/share/man/man1/naru-run.1.gz | grep -c detach'
part units systemd-analyze verify /lib/systemd/system/naru.socket /lib/systemd/system/naru-docker.socket
part docker-socket sh -c 'find /etc/systemd -name naru-docker.socket | grep -c .'
part doctor sh -c 'naru doctor | grep -c "^ok *kernel"'
part sysusers systemd-sysusers --dry-run /usr/lib/sysusers.d/naru.conf
part md5 sh -c 'cd / && dpkg --verify naru'
echo '{"labels": ["kept=yes"]}' >/etc/naru/daemon.json
start
$naru import "$3" busybox >/dev/null
part run $naru run --rm busybox echo hello
$naru run -d --name steady busybox sleep 1000 >/dev/null
pid=$($naru inspect -f '{{.State.Pid}}' steady)
dpkg -i "$2" >/dev/null 2>&1
part upgraded dpkg-query -W -f '\${Version}' naru
part conffile cat /etc/naru/daemon.json
kill $daemon; wait $daemon || true
start
part same sh -c "[ $($naru inspect -f '{{.State.Pid}}' steady) = $pid ] && echo yes"
part label $naru info -f '{{.Labels}}'
$naru rm -f steady >/dev/null
kill $daemon; wait $daemon || true
dpkg -r naru >/dev/null 2>&1
part removed sh -c '[ -e /usr/bin/naru ] && echo there || echo gone; ls /etc/naru'
mkdir -p /var/lib/naru/volumes/keep /var/lib/naru/layers
dpkg -P naru >/dev/null 2>&1
part purged sh -c 'ls -d /etc/naru 2>/dev/null || echo gone; ls /var/lib/naru; dpkg-query -W naru 2>/dev/null || echo unknown'
`;

/** In the mount namespace: the overlay, what a running system has on it, and the private folders as they are. */
const enter = `
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs ${volatile}/over
mkdir ${volatile}/over/upper ${volatile}/over/work ${volatile}/over/root
root=${volatile}/over/root
mount -t overlay overlay -o lowerdir=/,upperdir=${volatile}/over/upper,workdir=${volatile}/over/work $root
for place in /proc /sys /dev; do mount --rbind $place $root$place; done
# No systemd is seen here: maintainer scripts must not touch the host's services.
mount -t tmpfs tmpfs $root/run
mkdir -p $root${volatile} $root${folder}
mount --rbind ${volatile} $root${volatile}
mount --rbind ${folder} $root${folder}
rm -rf $root/var/lib/naru $root/etc/naru
# A root of its own, not a chroot: the engine looks its cgroups up in the mounts it sees.
mkdir $root/run/old
cd $root
pivot_root . run/old
umount -l /run/old
exec /bin/sh ${folder}/script "$@"
`;

beforeAll(async () => {
  mkdirSync(join(volatile, "over"), { recursive: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "owner.pid"), String(process.pid));
  writeFileSync(join(folder, "script"), script);
  const made = await must([join(REPOSITORY, "script/package"), "0.0.1-1"], {
    NARU_PACKAGE_COMPRESSION: "none",
    NARU_PACKAGE_BUILT: "1",
  });
  // In a folder that the private root has, too, wherever this repository is mounted.
  const [first, second, image] = ["1.deb", "2.deb", "busybox.tar"].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  renameOver(join(REPOSITORY, made.trim()), first);
  copyFileSync(await baseImage("busybox"), image);
  const unpacked = join(folder, "unpacked");
  await must(["dpkg-deb", "--raw-extract", first, unpacked]);
  const control = join(unpacked, "DEBIAN/control");
  writeFileSync(control, readFileSync(control, "utf8").replace("0.0.1-1", "0.0.2-1"));
  await must(["dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, second]);
  result = await run(["unshare", "--mount", "sh", "-c", enter, "sh", first, second, image]);
});

async function must(words: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await run(words, { env });
  if (code !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  return stdout;
}

/** Moves a file, to another file system as well. */
function renameOver(from: string, to: string): void {
  copyFileSync(from, to);
  rmSync(from);
}

afterAll(async () => {
  await removeTraces({ tag });
  for (const path of [folder, volatile]) rmSync(path, { recursive: true, force: true });
});

const part = (name: string): string | undefined =>
  new RegExp(`^PART ${name}: (.*)$`, "m").exec(result.stdout)?.[1]?.replace(/\|$/, "");

test("it installs with group, units, completion and manual pages, and every file as packed", () => {
  expect(result).toMatchObject({ code: 0 });
  expect(part("version")).toContain("Naru version");
  expect(part("group")).toBe("naru");
  expect(part("validate")).toBe("configuration OK");
  expect(part("completion")).not.toBe("0");
  expect(part("man")).not.toBe("0");
  expect(part("units")).toBe("");
  // Docker's own place is taken only by whoever asks for it.
  expect(part("docker-socket")).toBe("0");
  expect(part("doctor")).toBe("1");
  expect(part("sysusers")).not.toContain("rror");
  expect(part("md5")).toBe("");
});

test("the installed engine runs containers, and they run on through an upgrade", () => {
  expect(part("run")).toBe("hello");
  expect(part("upgraded")).toBe("0.0.2-1");
  expect(part("conffile")).toBe('{"labels": ["kept=yes"]}');
  expect(part("same")).toBe("yes");
  expect(part("label")).toBe("[kept=yes]");
});

test("removal keeps the configuration, purge takes it, and people's volumes stay", () => {
  expect(part("removed")).toBe("gone|daemon.json");
  expect(part("purged")).toBe("gone|volumes|unknown");
  expect(existsSync("/usr/bin/naru")).toBe(false);
});
