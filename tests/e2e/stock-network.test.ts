/** Links and file servers that only a whole kernel has, in the machine of script/test-vm: VLANs, ipvlan, dummies, NFS. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

import { type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
let parent: string;
let neighbour: string;
const SLEEP = ["busybox", "sleep", "1000"];
const VLAN = 10;

async function succeed(...commands: string[]): Promise<void> {
  for (const command of commands) {
    const { code, stderr } = await run(command.split(" "));
    if (code !== 0) throw new Error(`${command}: ${stderr}`);
  }
}

const pings = async (name: string, address: string): Promise<boolean> =>
  (await engine.docker(["exec", name, "ping", "-c", "1", "-W", "2", address])).code === 0;

describe.skipIf(process.env["NARU_VM"] === undefined)("on a stock kernel", () => {
  beforeAll(async () => {
    engine = await startEngine();
    parent = `narut${engine.tag}p`;
    neighbour = `naru-test-${engine.tag}`;
    const inside = `ip -n ${neighbour}`;
    await succeed(
      `ip netns add ${neighbour}`,
      `ip link add ${parent} type veth peer name lan0 netns ${neighbour}`,
      `ip link set ${parent} up`,
      `${inside} link set lan0 up`,
      `${inside} link add link lan0 name lan0.${VLAN} type vlan id ${VLAN}`,
      `${inside} link set lan0.${VLAN} up`,
      `${inside} addr add 10.78.0.9/24 dev lan0.${VLAN}`,
      `${inside} addr add 10.79.0.9/24 dev lan0`,
    );
  });
  afterAll(async () => {
    await run(["ip", "link", "delete", parent]);
    await run(["ip", "netns", "delete", neighbour]);
    expect(engine.violations()).toEqual([]);
    await engine[Symbol.asyncDispose]();
  });

  const drivers = [
    ["macvlan", []],
    ["ipvlan", ["-o", "ipvlan_mode=l2"]],
  ] as const;
  for (const [driver, options] of drivers) {
    test(`${driver} on a VLAN made for it: only machines of that VLAN are reached`, async () => {
      const flags = ["-d", driver, ...options, "-o", `parent=${parent}.${VLAN}`];
      await engine.ok(["network", "create", ...flags, "--subnet", "10.78.0.0/24", "tagged"]);
      await engine.ok(["run", "-d", "--name", "t1", "--network", "tagged", ...SLEEP]);
      await engine.ok(["run", "-d", "--name", "t2", "--network", "tagged", ...SLEEP]);
      const format = "{{.NetworkSettings.Networks.tagged.IPAddress}}";
      expect(await pings("t1", "10.78.0.9")).toBe(true);
      expect(await pings("t2", await engine.ok(["inspect", "-f", format, "t1"]))).toBe(true);
      const out = await run(`ip netns exec ${neighbour} ip neigh show dev lan0.${VLAN}`.split(" "));
      expect(out.stdout).toContain("10.78.0.");
      await engine.ok(["rm", "-f", "t1", "t2"]);
      await engine.ok(["network", "rm", "tagged"]);
      expect((await run(["ip", "link", "show", `${parent}.${VLAN}`])).code).toBe(1);
    });
  }

  test("ipvlan in layer 3 leads everything to the parent, and back with a route there", async () => {
    const flags = ["-d", "ipvlan", "-o", "ipvlan_mode=l3", "-o", `parent=${parent}`];
    await engine.ok(["network", "create", ...flags, "--subnet", "10.90.0.0/24", "routed"]);
    await engine.ok(["run", "-d", "--name", "r1", "--network", "routed", ...SLEEP]);
    await succeed(
      `ip addr add 10.79.0.1/24 dev ${parent}`,
      `ip -n ${neighbour} route add 10.90.0.0/24 via 10.79.0.1`,
    );
    expect(await pings("r1", "10.79.0.9")).toBe(true);
    await engine.ok(["rm", "-f", "r1"]);
    await engine.ok(["network", "rm", "routed"]);
  });

  for (const driver of ["macvlan", "ipvlan"]) {
    test(`${driver} without a parent gets a dummy, on which its containers have only each other`, async () => {
      await engine.ok(["network", "create", "-d", driver, "--subnet", "10.91.0.0/24", "alone"]);
      await engine.ok([
        "run",
        "-d",
        "--name",
        "a1",
        "--network",
        "alone",
        "--ip",
        "10.91.0.5",
        ...SLEEP,
      ]);
      await engine.ok(["run", "-d", "--name", "a2", "--network", "alone", ...SLEEP]);
      expect(await pings("a2", "10.91.0.5")).toBe(true);
      expect(await pings("a2", "10.79.0.9")).toBe(false);
      // Connected while it runs, and found again after the daemon was killed.
      await engine.ok(["run", "-d", "--name", "a3", ...SLEEP]);
      await engine.ok(["network", "connect", "alone", "a3"]);
      await engine.restartDaemon();
      expect(await pings("a3", "10.91.0.5")).toBe(true);
      await engine.ok(["rm", "-f", "a1", "a2", "a3"]);
      await engine.ok(["network", "rm", "alone"]);
      // The module brings a dummy0 of its own.
      const dummies = await run(["ip", "-o", "link", "show", "type", "dummy"]);
      expect(dummies.stdout).not.toContain("narut");
    });
  }

  test("a volume of an NFS server is read and written, and let go of", async () => {
    const exported = `${engine.root}/exported`;
    mkdirSync(exported);
    writeFileSync(`${exported}/greeting`, "from the server\n");
    await succeed("mount -t nfsd nfsd /proc/fs/nfsd");
    writeFileSync(
      "/etc/exports",
      `${exported} *(rw,sync,fsid=0,no_root_squash,no_subtree_check)\n`,
    );
    mkdirSync("/run/rpc_pipefs", { recursive: true });
    await succeed("exportfs -ra", "rpc.nfsd -G 10 -L 10 -N 3 2", "rpc.mountd -N 3");
    await run(["sh", "-c", "echo Y >/proc/fs/nfsd/v4_end_grace"]);
    try {
      const flags = ["-o", "type=nfs", "-o", "o=addr=127.0.0.1,rw,nfsvers=4.2", "-o", "device=:/"];
      await engine.ok(["volume", "create", ...flags, "shared"]);
      const script = "cat /data/greeting; echo written >/data/answer; grep ' /data ' /proc/mounts";
      const output = await engine.ok([
        "run",
        "--rm",
        "-v",
        "shared:/data",
        "busybox",
        "sh",
        "-c",
        script,
      ]);
      expect(output).toMatch(/^from the server\n:\/ \/data nfs4 rw,.*addr=127\.0\.0\.1/);
      expect(readFileSync(`${exported}/answer`, "utf8")).toBe("written\n");
      expect(readFileSync("/proc/mounts", "utf8")).not.toContain(" nfs4 ");
      const mount = `type=volume,dst=/d,volume-driver=local,volume-opt=type=nfs,volume-opt=device=:/,"volume-opt=o=addr=localhost,ro,nfsvers=4.2"`;
      const again = await engine.docker([
        "run",
        "--rm",
        "--mount",
        mount,
        "busybox",
        "sh",
        "-c",
        "cat /d/answer; touch /d/x",
      ]);
      expect(`${again.stdout}${again.stderr}`).toMatch(/^written\n.*Read-only file system\n$/);
      const gone = ["-o", "type=nfs", "-o", "o=addr=127.0.0.1,nfsvers=4.2", "-o", "device=:/gone"];
      await engine.ok(["volume", "create", ...gone, "nowhere"]);
      const failed = await engine.docker(["run", "--rm", "-v", "nowhere:/d", "busybox", "true"]);
      // docker's own code for any refusal that says "no such file or directory".
      expect(failed.code).toBe(127);
      expect(failed.stderr).toContain("failed to mount local volume: mount :/gone:");
      expect(failed.stderr).toContain("no such file or directory");
      await engine.ok(["volume", "rm", "shared", "nowhere"]);
    } finally {
      await run(["rpc.nfsd", "0"]);
      await run(["exportfs", "-ua"]);
      await run(["umount", "/proc/fs/nfsd"]);
    }
  });
});
