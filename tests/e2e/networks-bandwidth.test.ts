/**
 * Limits of bandwidth, measured with traffic. What is limited takes at least as long as its rate says, on any machine;
 * what is not limited takes much less than the limit would have it, however busy the machine is.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, run, startEngine } from "./engine.ts";
import { tracesOf } from "./traces.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine({
    daemonFlags: ["--default-address-pool", "base=10.197.0.0/16,size=24"],
  });
  await engine.ok(["network", "create", "plain"]);
  await engine.ok(["network", "create", "-o", "naru.ingress=8mbit", "slow"]);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const RATE = "8mbit";
const BYTES_PER_SECOND = 1_000_000;
const SMALL_BYTES = 1_000_000;
const LARGE_BYTES = 64_000_000;
/** Burst and queue pass at once. */
const AT_ONCE_BYTES = 200_000;
const SLOWEST_MS = ((SMALL_BYTES - AT_ONCE_BYTES) / BYTES_PER_SECOND) * 1000;
/** At the limit the large file would take 64 s. */
const FASTEST_LIMITED_MS = 40_000;

const SERVE = `truncate -s ${SMALL_BYTES} /small; truncate -s ${LARGE_BYTES} /large; exec httpd -f -p 80 -h /`;
const SLEEP = ["busybox", "sleep", "1000"];
const inspect = (name: string, format: string): Promise<string> =>
  engine.ok(["inspect", "-f", format, name]);
const optionsOf = async (name: string, network: string): Promise<unknown> =>
  JSON.parse(
    await inspect(name, `{{json (index .NetworkSettings.Networks "${network}").DriverOpts}}`),
  );
const addressOf = (name: string, network: string): Promise<string> =>
  inspect(name, `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`);

async function serving(name: string, ...flags: string[]): Promise<void> {
  await engine.ok(["run", "-d", "--name", name, ...flags, "busybox", "sh", "-c", SERVE]);
  await ready(name);
}

async function ready(name: string): Promise<void> {
  const asking = "until wget -qO /dev/null http://127.0.0.1/etc/passwd; do :; done";
  await engine.ok(["exec", name, "sh", "-c", asking]);
}

/** @returns milliseconds */
async function fetching(client: string, address: string, file: string): Promise<number> {
  const begun = performance.now();
  await engine.ok(["exec", client, "wget", "-qO", "/dev/null", `http://${address}/${file}`]);
  return performance.now() - begun;
}

const isLimited = async (client: string, address: string): Promise<boolean> =>
  (await fetching(client, address, "small")) >= SLOWEST_MS;
const isFree = async (client: string, address: string): Promise<boolean> =>
  (await fetching(client, address, "large")) < FASTEST_LIMITED_MS;

test("an endpoint's egress is limited, its neighbours' is not, also after restarts", async () => {
  const limited = `name=plain,driver-opt=naru.egress=${RATE}`;
  await serving("e1", "--network", limited);
  await serving("e2", "--network", "plain");
  expect(await optionsOf("e1", "plain")).toEqual({ "naru.egress": RATE });
  expect(await optionsOf("e2", "plain")).toBeNull();
  expect(await isLimited("e2", "e1")).toBe(true);
  // What it receives is not limited.
  expect(await isFree("e1", "e2")).toBe(true);
  await engine.restartDaemon();
  expect(await isLimited("e2", "e1")).toBe(true);
  expect(await optionsOf("e1", "plain")).toEqual({ "naru.egress": RATE });
  await engine.ok(["restart", "-t", "0", "e1"]);
  await ready("e1");
  expect(await isLimited("e2", "e1")).toBe(true);
});

const queues = (): string[] => tracesOf(engine.tag).links.filter((name) => name.endsWith("q"));
const limits = async (link: string): Promise<string> =>
  (await run(["tc", "qdisc", "show", "dev", link])).stdout;
/** The daemon looks for itself, every ten seconds. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 40_000;
  while (!(await holds()) && performance.now() < end) await Bun.sleep(100);
  expect(await holds()).toBe(true);
}

test("neither the container nor another program lifts a limit for long, and its queue goes with it", async () => {
  // Of a container that has just ended there may still be one.
  const others = new Set(queues());
  const own = () => queues().filter((name) => !others.has(name));
  const limited = `name=plain,driver-opt=naru.egress=${RATE},driver-opt=naru.ingress=${RATE}`;
  await serving("w1", "--network", limited, "--cap-add", "NET_ADMIN");
  await engine.ok(["run", "-d", "--name", "w2", "--network", "plain", ...SLEEP]);
  const [queue = ""] = own();
  expect(await limits(queue)).toContain("tbf");
  const link = queue.slice(0, -1);
  const pid = await inspect("w1", "{{.State.Pid}}");
  // With all that NET_ADMIN allows it, the container has nothing to take away.
  for (const command of ["del dev eth0 root", "del dev eth0 ingress", "del dev eth0 clsact"]) {
    await run(["nsenter", "-t", pid, "-n", "tc", "qdisc", ...command.split(" ")]);
  }
  expect(await isLimited("w2", "w1")).toBe(true);
  await run(["tc", "qdisc", "del", "dev", queue, "root"]);
  await run(["tc", "qdisc", "del", "dev", link, "root"]);
  await run(["tc", "qdisc", "del", "dev", link, "ingress"]);
  await until(async () => (await limits(link)).includes("ingress"));
  expect(await limits(queue)).toContain("tbf");
  expect(await limits(link)).toContain("tbf");
  expect(await isLimited("w2", "w1")).toBe(true);
  await engine.ok(["network", "disconnect", "plain", "w1"]);
  expect(own()).toEqual([]);
  await engine.ok(["network", "connect", "--driver-opt", `naru.egress=${RATE}`, "plain", "w1"]);
  expect(own()).toHaveLength(1);
  await engine.ok(["rm", "-f", "w1", "w2"]);
  await until(() => Promise.resolve(own().length === 0));
});

test("a network's limit is every endpoint's, as long as one does not say otherwise", async () => {
  await serving("n1", "--network", "name=slow,driver-opt=naru.ingress=10gbit");
  await engine.ok(["run", "-d", "--name", "n2", "--network", "slow", ...SLEEP]);
  const other = "name=slow,driver-opt=naru.ingress=10gbit";
  await engine.ok(["run", "-d", "--name", "n3", "--network", other, ...SLEEP]);
  expect(await inspect("slow", "{{json .Options}}")).toBe('{"naru.ingress":"8mbit"}');
  expect(await optionsOf("n2", "slow")).toEqual({ "naru.ingress": RATE });
  expect(await optionsOf("n3", "slow")).toEqual({ "naru.ingress": "10gbit" });
  expect(await isLimited("n2", "n1")).toBe(true);
  expect(await isFree("n3", "n1")).toBe(true);
});

test("a container's label limits it in each network, also one that it joins later", async () => {
  // The second finds a namespace that was made ahead.
  await serving("l1", "--label", `naru.egress=${RATE}`);
  await serving("l2", "--label", `naru.egress=${RATE}`);
  await engine.ok(["run", "-d", "--name", "l3", ...SLEEP]);
  for (const name of ["l1", "l2"]) {
    expect(await optionsOf(name, "bridge")).toEqual({ "naru.egress": RATE });
    expect(await isLimited("l3", await addressOf(name, "bridge"))).toBe(true);
  }
  await engine.ok(["network", "connect", "plain", "l2"]);
  await engine.ok(["network", "connect", "--driver-opt", "naru.ingress=8mbit", "plain", "l3"]);
  const [labelled, free] = [await addressOf("l2", "plain"), await addressOf("e2", "plain")];
  expect(await isLimited("l3", labelled)).toBe(true);
  expect(await isLimited("l3", free)).toBe(true);
  await engine.ok(["network", "disconnect", "plain", "l3"]);
  await engine.ok(["network", "connect", "plain", "l3"]);
  expect(await isFree("l3", free)).toBe(true);
});

test("what is no rate, or cannot be kept, is refused with a sentence", async () => {
  const refused = async (...args: string[]): Promise<string> => {
    const { code, stderr } = await engine.docker(args);
    expect(code).not.toBe(0);
    return stderr;
  };
  const create = (option: string, ...more: string[]) =>
    refused("network", "create", "-o", option, ...more, "never");
  const start = (...flags: string[]) => refused("create", ...flags, "busybox", "true");
  const noRate = 'invalid naru.egress "fast": a rate is a number and bit, kbit, mbit or gbit';
  expect(await create("naru.egress=fast")).toContain(noRate);
  expect(await create("naru.egres=1mbit")).toContain("naru.egres is not known");
  expect(await create("naru.ingress=1mbit", "-d", "macvlan")).toContain("needs a bridge network");
  expect(await start("--label", "naru.egress=fast")).toContain(noRate);
  expect(await start("--network", "name=plain,driver-opt=naru.egress=fast")).toContain(noRate);
  expect(await start("--network", "host", "--label", "naru.egress=1mbit")).toContain("conflicting");
  expect(
    await refused("network", "connect", "--driver-opt", "naru.egress=1bit", "slow", "e2"),
  ).toContain("a rate is between 8kbit and 100gbit");
  expect(await refused("network", "inspect", "never")).toContain("not found");
});
