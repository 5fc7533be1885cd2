/** dockerd's options about the host's network and cgroups: what packets, containers and the host show of them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, NARU, run, startEngine } from "./engine.ts";
import { realtimeIsTaken } from "./realtime.ts";
import { until } from "./until.ts";

let engine: Engine;
/** A neighbour of this host: a network namespace behind a link, that routes everything to us. */
const neighbour = `narut${crypto.getRandomValues(new Uint8Array(2)).toHex()}n`;
const HOST_ADDRESS = "10.233.99.1";

beforeAll(async () => {
  engine = await startEngine();
  const [ours, theirs] = [`${neighbour}h`, `${neighbour}p`];
  await must(["ip", "netns", "add", neighbour]);
  await must(["ip", "link", "add", ours, "type", "veth", "peer", theirs, "netns", neighbour]);
  await must(["ip", "address", "add", `${HOST_ADDRESS}/24`, "dev", ours]);
  await must(["ip", "link", "set", ours, "up"]);
  for (const words of [
    ["address", "add", "10.233.99.2/24", "dev", theirs],
    ["link", "set", theirs, "up"],
    ["route", "add", "default", "via", HOST_ADDRESS],
  ]) {
    await must(["ip", "-n", neighbour, ...words]);
  }
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  await run(["ip", "link", "delete", `${neighbour}h`]);
  await run(["ip", "netns", "delete", neighbour]);
});

async function must(words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(words);
  if (code !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  return stdout;
}

async function restartWith(options: Record<string, unknown>, ...flags: string[]): Promise<void> {
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
  writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(options));
  await engine.startDaemon(undefined, flags);
}

const shell = (script: string, ...flags: string[]): Promise<string> =>
  engine.ok(["run", "--rm", ...flags, "busybox", "sh", "-c", script]);

/** What another machine hears when it dials; "" when nobody answers it in time. */
async function fromOutside(address: string, port: number, seconds: number): Promise<string> {
  const script = `exec 3<>/dev/tcp/${address}/${port} && cat <&3`;
  const words = ["ip", "netns", "exec", neighbour, "timeout", `${seconds}`, "bash", "-c", script];
  return (await run(words)).stdout;
}

/** The server takes one caller at a time: one that comes between two of its turns is turned away. */
async function reached(address: string, port: number): Promise<void> {
  await until(async () => (await fromOutside(address, port, 10)) === "here\n");
}

const SERVE = ["busybox", "sh", "-c", "while echo here | nc -l -p 80; do :; done"];

test("published ports are reached by containers' own addresses only if the operator says so", async () => {
  await engine.ok(["run", "-d", "--name", "web", "-p", "80", "-p", "127.0.0.1::80", ...SERVE]);
  const address = await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
  const published = await engine.ok(["port", "web", "80"]);
  const port = Number(/0\.0\.0\.0:(\d+)/.exec(published)?.[1]);
  await reached(HOST_ADDRESS, port);
  expect(await fromOutside(address, 80, 1)).toBe("");
  await restartWith({ "allow-direct-routing": true });
  await reached(address, 80);
  await reached(HOST_ADDRESS, port);
  await engine.ok(["run", "-d", "--name", "later", "-p", "80", ...SERVE]);
  await engine.ok(["run", "-d", "--name", "closed", ...SERVE]);
  const format = "{{.NetworkSettings.IPAddress}}";
  const [later = "", closed = ""] = (
    await engine.ok(["inspect", "-f", format, "later", "closed"])
  ).split("\n");
  await reached(later, 80);
  expect(await fromOutside(closed, 80, 1)).toBe("");
  await engine.ok(["rm", "-f", "later", "closed"]);
  await restartWith({});
  expect(await fromOutside(address, 80, 1)).toBe("");
});

test("a network's trusted links reach its published ports by containers' own addresses", async () => {
  const option = "com.docker.network.bridge.trusted_host_interfaces";
  await engine.ok(["network", "create", "-o", `${option}=nowhere0:${neighbour}h`, "trusting"]);
  await engine.ok(["network", "create", "wary"]);
  const addressOf = async (network: string, ...flags: string[]) => {
    await engine.ok(["run", "-d", "--name", network, "--network", network, ...flags, ...SERVE]);
    const format = `{{.NetworkSettings.Networks.${network}.IPAddress}}`;
    return await engine.ok(["inspect", "-f", format, network]);
  };
  const trusting = await addressOf("trusting", "-p", "80");
  await reached(trusting, 80);
  expect(await fromOutside(await addressOf("wary", "-p", "80"), 80, 1)).toBe("");
  await engine.ok(["rm", "-f", "trusting"]);
  expect(await fromOutside(await addressOf("trusting"), 80, 1)).toBe("");
  await engine.ok(["rm", "-f", "trusting", "wary"]);
  await engine.ok(["network", "rm", "trusting", "wary"]);
});

test("packets that another firewall has marked come in", async () => {
  const address = await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
  const table = `${neighbour}_marks`;
  await must([
    "nft",
    `add table inet ${table}; add chain inet ${table} marking { type filter hook prerouting priority -150; }; add rule inet ${table} marking iifname "${neighbour}h" meta mark set 0x1100`,
  ]);
  try {
    expect(await fromOutside(address, 80, 1)).toBe("");
    await restartWith({ "bridge-accept-fwmark": "0x1000/0xf000" });
    await reached(address, 80);
    await restartWith({ "bridge-accept-fwmark": "0x2000/0xf000" });
    expect(await fromOutside(address, 80, 1)).toBe("");
  } finally {
    await run(["nft", "delete", "table", "inet", table]);
  }
  await engine.ok(["rm", "-f", "web"]);
});

test("what the default bridge's containers send keeps their own address without ip-masq", async () => {
  const seen = async (): Promise<string> => {
    const words = ["ip", "netns", "exec", neighbour, "socat", "-d", "-d"];
    const server = Bun.spawn(
      [...words, "TCP-LISTEN:7777,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR"],
      {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
      },
    );
    const reader = server.stderr.getReader();
    for (let text = ""; !text.includes("listening on");) {
      const { value, done } = await reader.read();
      if (done) throw new Error(text);
      text += new TextDecoder().decode(value);
    }
    try {
      return await shell("hostname -i; nc -w 10 10.233.99.2 7777 </dev/null");
    } finally {
      server.kill();
      await server.exited;
    }
  };
  await restartWith({});
  expect((await seen()).split("\n")[1]).toBe(HOST_ADDRESS);
  await restartWith({ "ip-masq": false });
  const [own, source] = (await seen()).split("\n");
  expect(source).toBe(own ?? "nobody");
});

test("the host's resolver is read where the operator says", async () => {
  const path = join(engine.root, "resolv");
  writeFileSync(path, "nameserver 192.0.2.53\nsearch from.operator");
  await restartWith({ "resolv-conf": path });
  expect(await shell("cat /etc/resolv.conf")).toContain(
    "nameserver 192.0.2.53\nsearch from.operator",
  );
});

const RT = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us";

test.skipIf(!existsSync(RT) || realtimeIsTaken())(
  "the real-time share of all containers is the operator's",
  async () => {
    await restartWith({ "cpu-rt-period": 900_000, "cpu-rt-runtime": 2000 });
    const folder = `/sys/fs/cgroup/cpu${engine.cgroupParent}`;
    const read = (file: string) => readFileSync(`${folder}/${file}`, "utf8").trim();
    expect([read("cpu.rt_period_us"), read("cpu.rt_runtime_us")]).toEqual(["900000", "2000"]);
    const more = await engine.docker(["run", "--rm", "--cpu-rt-runtime=90000", "busybox", "true"]);
    expect(more.code).not.toBe(0);
  },
);

test("without a default bridge containers have a loopback link, and networks of users work", async () => {
  await restartWith({});
  await engine.ok(["run", "-d", "--name", "holds", "busybox", "sleep", "1000"]);
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
  expect(await engine.tryDaemon(["--bridge", "none"])).toContain(
    "the default bridge cannot be taken away while containers use it",
  );
  await engine.startDaemon();
  await engine.ok(["rm", "-f", "holds"]);
  // Its address is given back a moment after the answer.
  const users = ["network", "inspect", "bridge", "-f", "{{len .Containers}}"];
  await until(async () => (await engine.ok(users)) === "0");
  await restartWith({}, "--bridge", "none");
  expect((await run(["ip", "link", "show", engine.bridge])).code).not.toBe(0);
  expect(await engine.ok(["network", "ls", "--format", "{{.Name}}"])).toBe("host\nnone");
  expect(await shell("ls /sys/class/net")).toBe("lo");
  await engine.ok(["network", "create", "town"]);
  expect(await shell("ls /sys/class/net | grep eth", "--network", "town")).toBe("eth0");
  await engine.ok(["network", "rm", "town"]);
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
  const uninstalled = await run([
    NARU,
    "daemon",
    "--uninstall",
    "--bridge",
    "none",
    "--data-root",
    engine.dataRoot,
    "--exec-root",
    engine.execRoot,
    "--cgroup-parent",
    engine.cgroupParent,
    "--config-file",
    join(engine.root, "daemon.json"),
  ]);
  expect([uninstalled.code, uninstalled.stderr]).toEqual([0, expect.any(String)]);
  await engine.startDaemon();
  expect(await shell("ls /sys/class/net | grep eth")).toBe("eth0");
});
