/** A Docker daemon to compare with: own data root, exec root, socket and bridge; the host's firewall is put back after. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { VOLATILE } from "../tests/e2e/engine.ts";

export interface BenchEngine extends AsyncDisposable {
  readonly name: string;
  readonly socket: string;
  readonly version: string;
  /** Every process that serves the engine itself: daemons and shims, not the containers. */
  enginePids(): number[];
  /** SIGKILL and start again; resolves when the API answers. */
  restart(): Promise<number>;
}

export const ping = async (socket: string): Promise<boolean> => {
  try {
    return (await fetch("http://engine/_ping", { unix: socket })).ok;
  } catch {
    return false;
  }
};

/** Waits until the engine answers; the time it took in milliseconds. */
export async function untilServed(socket: string): Promise<number> {
  const started = performance.now();
  while (!(await ping(socket))) {
    if (performance.now() - started > 60_000) throw new Error(`${socket} does not answer`);
    await Bun.sleep(2);
  }
  return performance.now() - started;
}

export function pidsWith(text: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
}

const sh = (...words: string[]): string =>
  Bun.spawnSync(words, { stderr: "ignore" }).stdout.toString();

/**
 * @param binaries a folder with usr/sbin/dockerd and usr/bin/containerd, as unpacked from Debian's packages
 * @param dataRoot where its data lies; left out: a folder of its own
 */
export async function startPeer(binaries: string, dataRoot?: string): Promise<BenchEngine> {
  // Several may run at once, as several private Narus may.
  const tag = crypto.getRandomValues(new Uint8Array(2));
  const root = `/tmp/naru-peer-${tag.toHex()}`;
  const bridge = `narup${tag.toHex()}`;
  const socket = join(root, "docker.sock");
  const execRoot = join(VOLATILE, `naru-peer-${tag.toHex()}`);
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  // Where nothing was set there is nothing to put back: empty tables, everything accepted.
  const firewall =
    sh("iptables-save") ||
    "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n" +
      "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n";
  const forwarding = readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8");
  sh("ip", "link", "add", bridge, "type", "bridge");
  sh("ip", "addr", "add", `10.${192 + ((tag[0] ?? 0) % 60)}.0.1/16`, "dev", bridge);
  sh("ip", "link", "set", bridge, "up");
  writeFileSync(join(root, "daemon.json"), "{}");
  const start = () =>
    Bun.spawn(
      [
        join(binaries, "usr/sbin/dockerd"),
        "--config-file",
        join(root, "daemon.json"),
        "--data-root",
        dataRoot ?? join(root, "data"),
        "--exec-root",
        execRoot,
        "--pidfile",
        join(root, "docker.pid"),
        "-H",
        `unix://${socket}`,
        "--bridge",
        bridge,
        "--live-restore",
        "--storage-driver",
        "overlay2",
      ],
      {
        stdin: "ignore",
        stdout: "ignore",
        stderr: Bun.file(join(root, "dockerd.log")),
        env: {
          ...process.env,
          PATH: `${binaries}/usr/bin:${binaries}/usr/sbin:${process.env["PATH"]}`,
        },
      },
    );
  let daemon = start();
  await untilServed(socket);
  const version = sh(
    "docker",
    "-H",
    `unix://${socket}`,
    "version",
    "-f",
    "{{.Server.Version}}",
  ).trim();
  return {
    name: "docker",
    socket,
    version,
    enginePids: () => pidsWith(`naru-peer-${tag.toHex()}`),
    async restart() {
      daemon.kill("SIGKILL");
      await daemon.exited;
      for (const pid of pidsWith(join(root, "docker.pid"))) process.kill(pid, "SIGKILL");
      // Its containerd dies with it; a stale pid file would make the next one wait for a process that is not there.
      rmSync(join(root, "docker.pid"), { force: true });
      rmSync(join(execRoot, "containerd/containerd.pid"), { force: true });
      const started = performance.now();
      daemon = start();
      await untilServed(socket);
      return performance.now() - started;
    },
    async [Symbol.asyncDispose]() {
      const ids = sh("docker", "-H", `unix://${socket}`, "ps", "-aq").split("\n").filter(Boolean);
      if (ids.length > 0) sh("docker", "-H", `unix://${socket}`, "rm", "-f", ...ids);
      daemon.kill("SIGTERM");
      await daemon.exited;
      for (const pid of pidsWith(`naru-peer-${tag.toHex()}`)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // it ended meanwhile
        }
      }
      sh("ip", "link", "delete", bridge);
      Bun.spawnSync(["iptables-restore"], { stdin: new Blob([firewall]) });
      writeFileSync("/proc/sys/net/ipv4/ip_forward", forwarding);
      for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n").toReversed()) {
        const target = line.split(" ")[4] ?? "";
        if (target.includes(`/naru-peer-${tag.toHex()}/`)) sh("umount", "-l", target);
      }
      rmSync(execRoot, { recursive: true, force: true });
      rmSync(root, { recursive: true, force: true });
    },
  };
}
