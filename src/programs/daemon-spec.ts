/** What a container gets when nobody asks for anything else, as the runtime room knows it. */
import type { SpecDefaults } from "#engine/container";
import { capabilityNames, hostCapabilities } from "#linux/security";

export function specDefaults(): SpecDefaults {
  const all = hostCapabilities();
  const wanted = new Set(
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
      .split(" ")
      .map((x) => `CAP_${x}`),
  );
  return {
    capabilities: capabilityNames.filter((n) => wanted.has(n) && all.includes(n)),
    allCapabilities: all,
    mounts: [
      {
        destination: "/proc",
        type: "proc",
        source: "proc",
        options: ["nosuid", "noexec", "nodev"],
      },
      {
        destination: "/dev",
        type: "tmpfs",
        source: "tmpfs",
        options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
      },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      {
        destination: "/sys",
        type: "sysfs",
        source: "sysfs",
        options: ["nosuid", "noexec", "nodev", "ro"],
      },
      {
        destination: "/sys/fs/cgroup",
        type: "cgroup",
        source: "cgroup",
        options: ["ro", "nosuid", "noexec", "nodev"],
      },
      {
        destination: "/dev/mqueue",
        type: "mqueue",
        source: "mqueue",
        options: ["nosuid", "noexec", "nodev"],
      },
      {
        destination: "/dev/shm",
        type: "tmpfs",
        source: "shm",
        options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
      },
    ],
    deviceRules: [
      { allow: false, access: "rwm" },
      { allow: true, type: "c", access: "m" },
      { allow: true, type: "b", access: "m" },
      ...[
        [1, 3],
        [1, 5],
        [1, 7],
        [1, 8],
        [1, 9],
        [5, 0],
        [5, 2],
      ].map(([major = 0, minor = 0]) => ({
        allow: true,
        type: "c" as const,
        major,
        minor,
        access: "rwm",
      })),
      { allow: true, type: "c", major: 136, access: "rwm" },
    ],
    maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
    readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    seccomp: () => ({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [] }),
    parseSeccomp: (text) => JSON.parse(text),
  };
}
