/** For tests: a busybox root, and containers as Docker would ask for them, small enough to vary. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { newId } from "#base";
import type { RuntimeSpec } from "#oci";

/** Of this process alone: another run of the same tests has others. */
export const TEST_CGROUPS = `/naru-test-runtime-${process.pid}`;

const CAPABILITIES =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    .split(" ")
    .map((name) => `CAP_${name}`);

/** A temporary folder that disposing removes. */
export function temporaryFolder(name: string): Disposable & { readonly path: string } {
  const path = mkdtempSync(`/tmp/naru-test-${name}-`);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A root with busybox and a few accounts, to be the one lower of every test's overlay. */
export async function makeBusyboxRoot(path: string): Promise<void> {
  for (const folder of ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "sbin"]) {
    mkdirSync(join(path, folder), { recursive: true });
  }
  const busybox = join(path, "bin/busybox");
  await Bun.write(busybox, Bun.file("/bin/busybox"));
  await Bun.$`chmod 755 ${busybox} && chmod 1777 ${join(path, "tmp")}`.quiet();
  await Bun.$`chroot ${path} /bin/busybox --install -s /bin`.quiet();
  await Bun.write(
    join(path, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\n",
  );
  await Bun.write(join(path, "etc/group"), "root:x:0:\nwheel:x:10:web\nweb:x:34:\ntty:x:5:\n");
  await Bun.write(join(path, "bin/plain"), "not a program");
}

/** Docker's spec of a default container that runs `args`. */
export function defaultSpec(id: string, args: readonly string[]): RuntimeSpec {
  return {
    ociVersion: "1.0.2",
    hostname: "naru-test",
    root: { path: "rootfs", readonly: false },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: [...args],
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      cwd: "/",
      capabilities: {
        bounding: CAPABILITIES,
        effective: CAPABILITIES,
        permitted: CAPABILITIES,
        inheritable: [],
        ambient: [],
      },
      noNewPrivileges: false,
      oomScoreAdj: 0,
    },
    mounts: [
      ["/proc", "proc", "nosuid,noexec,nodev"],
      ["/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"],
      ["/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"],
      ["/sys", "sysfs", "nosuid,noexec,nodev,ro"],
      ["/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"],
      ["/dev/mqueue", "mqueue", "nosuid,noexec,nodev"],
      ["/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"],
    ].map(([destination = "", type = "", options = ""]) => ({
      destination,
      type,
      source: type,
      options: options.split(","),
    })),
    linux: {
      namespaces: (["pid", "network", "ipc", "uts", "mount", "cgroup"] as const).map((type) => ({
        type,
      })),
      devices: [],
      cgroupsPath: `${TEST_CGROUPS}/${id}`,
      resources: { devices: [] },
      maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

export const testId = newId;

const MAPS = [{ containerID: 0, hostID: 300_000, size: 65_536 }];

/** The same container in a user namespace of its own. */
export function remapped(spec: RuntimeSpec): RuntimeSpec {
  const { "net.ipv4.ping_group_range": _without, ...sysctl } = spec.linux.sysctl ?? {};
  // Who joins another container's namespaces joins the user namespace they belong to.
  const joined = spec.linux.namespaces.find(({ path }) => path !== undefined)?.path;
  const namespaces = [
    ...spec.linux.namespaces,
    {
      type: "user" as const,
      ...(joined === undefined ? {} : { path: joined.replace(/[^/]*$/, "user") }),
    },
  ];
  const linux = { ...spec.linux, namespaces, uidMappings: MAPS, gidMappings: MAPS, sysctl };
  return { ...spec, linux };
}
