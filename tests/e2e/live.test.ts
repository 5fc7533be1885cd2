/** The living container through the real docker CLI: update, stats, health, restart, prune, and the live view. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";

import { baseImage, type Engine, type Finished, NARU, startEngine } from "./engine.ts";
import { runOnTerminal } from "./pty.ts";
import { until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

const MEBI = 1024 * 1024;

/** A container that sleeps; its id. */
const sleeper = (name: string, ...flags: string[]): Promise<string> =>
  engine.ok(["run", "-d", "--name", name, ...flags, "busybox", "sleep", "1000"]);

/** A control file of a container, wherever this host has its controller. */
function limitOf(id: string, v1: string, v2: string): string {
  const [controller = ""] = v1.split("/");
  const paths = [
    `/sys/fs/cgroup/${controller}${engine.cgroupParent}/${id}/${v1.split("/")[1] ?? ""}`,
    `/sys/fs/cgroup${engine.cgroupParent}/${id}/${v2}`,
  ];
  const found = paths.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`no ${v1} and no ${v2}`);
  return readFileSync(found, "utf8").trim();
}

const inspect = async (name: string, format: string): Promise<string> =>
  engine.ok(["inspect", "--format", format, name]);

describe("docker update", () => {
  test("changes the limits of a running container, in the kernel and in the record", async () => {
    const id = await sleeper("limits", "-m", "64m", "--pids-limit", "50", "--cpus", "0.5");
    await engine.ok(["update", "-m", "128m", "--memory-swap", "256m", "limits"]);
    expect(limitOf(id, "memory/memory.limit_in_bytes", "memory.max")).toBe(String(128 * MEBI));
    await engine.ok(["update", "--pids-limit", "7", "--cpus", "0.75", "limits"]);
    expect(limitOf(id, "pids/pids.max", "pids.max")).toBe("7");
    expect(limitOf(id, "cpu/cpu.cfs_quota_us", "cpu.max")).toMatch(/^75000\b/);
    await engine.ok(["update", "--cpuset-cpus", "0", "--cpu-shares", "512", "limits"]);
    expect(limitOf(id, "cpuset/cpuset.cpus", "cpuset.cpus")).toBe("0");
    await engine.ok(["update", "--memory-reservation", "32m", "limits"]);
    await engine.ok(["update", "--pids-limit", "-1", "limits"]);
    expect(limitOf(id, "pids/pids.max", "pids.max")).toBe("max");
    // What the container itself sees.
    expect(
      await engine.ok(["exec", "limits", "sh", "-c", "grep Cpus_allowed_list /proc/self/status"]),
    ).toMatch(/\t0$/);
    const shown = await inspect(
      "limits",
      "{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.MemoryReservation}} {{.NanoCpus}} {{.CpusetCpus}} {{.CpuShares}} {{.PidsLimit}}{{end}}",
    );
    expect(shown).toBe(`${128 * MEBI} ${256 * MEBI} ${32 * MEBI} 750000000 0 512 <no value>`);
    expect(await engine.ok(["exec", "limits", "echo", "alive"])).toBe("alive");
  });

  test("is in force after a restart, and for a container that did not run", async () => {
    const id = await engine.ok(["create", "--name", "later", "busybox", "sleep", "1000"]);
    await engine.ok(["update", "--pids-limit", "9", "--restart", "on-failure:3", "later"]);
    await engine.ok(["start", "later"]);
    expect(limitOf(id, "pids/pids.max", "pids.max")).toBe("9");
    expect(await inspect("later", "{{json .HostConfig.RestartPolicy}}")).toBe(
      '{"Name":"on-failure","MaximumRetryCount":3}',
    );
  });

  test.each([
    [["-m", "1m"], "Minimum memory limit allowed is 6MB"],
    [["-m", "1g"], "Memory limit should be smaller than already set memoryswap limit"],
    [["--cpu-quota", "5000"], "CPU Quota cannot be updated as NanoCPUs has already been set"],
    [["--cpuset-cpus", "4000"], "Requested CPUs are not available"],
    [["--memory-swap", "70m", "-m", "80m"], "Minimum memoryswap limit should be larger"],
    [["--restart", "sometimes"], "invalid restart policy"],
  ])("refuses %p in Docker's words", async (flags, sentence) => {
    await engine.docker(["rm", "-f", "refusing"]);
    await sleeper("refusing", "-m", "64m", "--cpus", "0.5");
    const finished = await engine.docker(["update", ...flags, "refusing"]);
    expect(finished.code).toBe(1);
    expect(finished.stderr).toContain(sentence);
    expect(await inspect("refusing", "{{.HostConfig.Memory}}")).toBe(String(64 * MEBI));
  });

  test("keeps a container that removes itself from being restarted", async () => {
    await sleeper("selfish", "--rm");
    const finished = await engine.docker(["update", "--restart", "always", "selfish"]);
    expect(finished.stderr).toContain(
      "Restart policy cannot be updated because AutoRemove is enabled for the container",
    );
  });

  const isV1 = existsSync("/sys/fs/cgroup/memory");
  test.if(isV1)("a limit below what is in use is refused and changes nothing", async () => {
    const id = await engine.ok(
      "run -d --name full -m 64m --memory-swap 64m --tmpfs /fill busybox"
        .split(" ")
        .concat(
          "sh",
          "-c",
          "dd if=/dev/zero of=/fill/data bs=1M count=30 2>/dev/null; echo full; sleep 1000",
        ),
    );
    await untilLogged("full", "full");
    const finished = await engine.docker(["update", "-m", "10m", "--memory-swap", "10m", "full"]);
    expect(finished.code).toBe(1);
    expect(finished.stderr).toContain("unable to set memory limit");
    expect(limitOf(id, "memory/memory.limit_in_bytes", "memory.max")).toBe(String(64 * MEBI));
    expect(await inspect("full", "{{.HostConfig.Memory}}")).toBe(String(64 * MEBI));
  });
});

/** Resolves when a container's log holds a line. */
async function untilLogged(name: string, line: string): Promise<void> {
  const follower = Bun.spawn(["docker", "-H", `unix://${engine.socket}`, "logs", "-f", name], {
    stdout: "pipe",
    stderr: "ignore",
  });
  try {
    let text = "";
    for await (const chunk of follower.stdout) {
      text += new TextDecoder().decode(chunk);
      if (text.includes(`${line}\n`)) return;
    }
    throw new Error(`${name} ended before it said ${line}: ${text}`);
  } finally {
    follower.kill();
  }
}

interface Stats {
  readonly read: string;
  readonly preread: string;
  readonly name: string;
  readonly id: string;
  readonly pids_stats: { readonly current?: number; readonly limit?: number };
  readonly cpu_stats: {
    readonly cpu_usage: { readonly total_usage: number };
    readonly system_cpu_usage?: number;
    readonly online_cpus?: number;
  };
  readonly precpu_stats: Stats["cpu_stats"];
  readonly memory_stats: {
    readonly usage?: number;
    readonly limit?: number;
    readonly stats?: Record<string, number>;
  };
  readonly networks?: Record<string, { readonly rx_bytes: number; readonly tx_packets: number }>;
}

/** The documents of a stats stream as they come; leaving the loop ends it. */
async function* statsOf(name: string): AsyncGenerator<Stats> {
  const answer = await engine.fetch(`/v1.51/containers/${name}/stats`);
  let rest = "";
  for await (const chunk of answer.body ?? []) {
    rest += new TextDecoder().decode(chunk);
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line) as Stats;
  }
}

describe("docker stats", () => {
  test("tells what a container uses", async () => {
    await engine.ok([
      ..."run -d --name busy -m 64m --pids-limit 20 --cpus 0.2 busybox sh -c".split(" "),
      "while :; do :; done",
    ]);
    let line = "";
    // docker waits two seconds for two samples, then shows dashes.
    await until(async () => {
      line = await engine.ok([
        ..."stats --no-stream --format".split(" "),
        "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.NetIO}}|{{.BlockIO}}|{{.PIDs}}",
        "busy",
      ]);
      return !line.includes("--");
    });
    expect(line).toMatch(/^busy\|[\d.]+%\|[\d.]+[KM]iB \/ 64MiB\|[\d.k]+B \/ [\d.k]+B\|.+\|1$/);
    expect(Number.parseFloat(line.split("|")[1] ?? "")).toBeGreaterThan(1);
    await engine.ok(["kill", "busy"]);
  });

  test("streams a sample a second, each with the one before it", async () => {
    const id = await sleeper("streamed", "--pids-limit", "20");
    const seen: Stats[] = [];
    for await (const sample of statsOf("streamed")) {
      seen.push(sample);
      if (seen.length === 3) break;
    }
    const [first, second, third] = seen;
    expect(first).toMatchObject({ id, name: "/streamed", preread: "0001-01-01T00:00:00Z" });
    expect(third?.preread).toBe(second?.read);
    expect(third?.precpu_stats).toEqual(second?.cpu_stats as Stats["cpu_stats"]);
    expect(third?.pids_stats).toEqual({ current: 1, limit: 20 });
    expect(third?.cpu_stats.system_cpu_usage).toBeGreaterThan(
      second?.cpu_stats.system_cpu_usage ?? Infinity,
    );
    expect(third?.memory_stats.stats?.["inactive_file"]).toBeNumber();
    expect(Object.keys(third?.networks ?? {})).toEqual(["eth0"]);
  });

  test("counts the traffic of the container's own network", async () => {
    await engine.ok([
      ..."run -d --name pinger busybox sh -c".split(" "),
      "ping -c 5 -i 0.2 $(ip route | awk '/default/{print $3}'); echo sent; sleep 1000",
    ]);
    await untilLogged("pinger", "sent");
    const answer = await engine.fetch("/v1.51/containers/pinger/stats?stream=0&one-shot=1");
    const sample = (await answer.json()) as Stats;
    expect(sample.networks?.["eth0"]?.tx_packets).toBeGreaterThanOrEqual(5);
    expect(sample.precpu_stats.cpu_usage.total_usage).toBe(0);
  });

  test("of a stopped container says that nothing is used, and a stream outlives the run", async () => {
    await sleeper("brief");
    const samples = statsOf("brief");
    expect((await samples.next()).value?.pids_stats.current).toBe(1);
    await engine.ok(["kill", "brief"]);
    for await (const sample of samples) if (sample.pids_stats.current === undefined) break;
    const once = await engine.fetch("/v1.51/containers/brief/stats?stream=0");
    expect(await once.json()).toMatchObject({ name: "/brief", pids_stats: {}, memory_stats: {} });
    const ending = statsOf("brief");
    await ending.next();
    await engine.ok(["rm", "brief"]);
    let rest = 0;
    for await (const _ of ending) rest += 1;
    expect(rest).toBeLessThan(5);
  });

  test("one sampler serves everyone, and rests when nobody watches", async () => {
    await sleeper("shared");
    const open = () =>
      new Bun.Glob("*").scanSync({ cwd: `/proc/${engine.daemonPid}/fd`, onlyFiles: false });
    const before = [...open()].length;
    const streams = Array.from({ length: 10 }, () => statsOf("shared"));
    const samples = await Promise.all(streams.map((stream) => stream.next()));
    expect(samples.every(({ value }) => value?.pids_stats.current === 1)).toBe(true);
    // Ten connections and one container's files, not ten containers' files.
    expect([...open()].length - before).toBeLessThan(10 + 30);
    await Promise.all(streams.map((stream) => stream.return(undefined)));
  });

  test("refuses what makes no sense", async () => {
    const answer = await engine.fetch("/v1.51/containers/shared/stats?one-shot=1");
    expect(answer.status).toBe(400);
    expect((await engine.docker(["stats", "--no-stream", "nosuch"])).stderr).toContain(
      "No such container: nosuch",
    );
  });
});

/** Events of one container as `action`, until one fits; the stream is opened before `work` begins. */
async function eventsUntil(
  name: string,
  isLast: (action: string) => boolean,
  work: () => Promise<unknown>,
): Promise<string[]> {
  const listener = Bun.spawn(
    `docker -H unix://${engine.socket} events --filter container=${name} --format {{.Action}} --since 1`
      .split(" ")
      .map(String),
    { stdout: "pipe", stderr: "ignore" },
  );
  const working = work();
  const seen: string[] = [];
  try {
    let rest = "";
    for await (const chunk of listener.stdout) {
      const lines = `${rest}${new TextDecoder().decode(chunk)}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        seen.push(line);
        if (isLast(line)) return seen;
      }
    }
    throw new Error(`the events of ${name} ended: ${seen.join(", ")}`);
  } finally {
    listener.kill();
    await working;
  }
}

interface HealthState {
  readonly Status: string;
  readonly FailingStreak: number;
  readonly Log: readonly { readonly ExitCode: number; readonly Output: string }[];
}

const healthOf = async (name: string): Promise<HealthState> =>
  JSON.parse(await inspect(name, "{{json .State.Health}}")) as HealthState;

/** Resolves with the health once it is as wanted. */
async function untilHealth(
  name: string,
  isWanted: (health: HealthState) => boolean,
): Promise<HealthState> {
  let health = await healthOf(name);
  await until(async () => {
    health = await healthOf(name);
    return isWanted(health);
  });
  return health;
}

const FAST = "--health-interval 100ms --health-retries 2".split(" ");

describe("health checks", () => {
  test("starting, healthy, unhealthy: in ps, in events, in filters and in inspect", async () => {
    const seen = await eventsUntil(
      "sick",
      (action) => action === "health_status: unhealthy",
      async () => {
        await sleeper("sick", ...FAST, "--health-cmd", "cat /well && echo fine");
        expect(await engine.ok(["ps", "--filter", "name=sick", "--format", "{{.Status}}"])).toMatch(
          /^Up .+ \((health: starting|unhealthy)\)$/,
        );
        await untilHealth("sick", ({ Status }) => Status === "unhealthy");
      },
    );
    expect(seen.slice(0, 2)).toEqual(["create", "start"]);
    const probe = "/bin/sh -c cat /well && echo fine";
    expect(seen).toContain(`exec_create: ${probe}`);
    expect(seen).toContain(`exec_start: ${probe}`);
    expect(seen).toContain("exec_die");
    const filtered = (health: string) =>
      engine.ok(["ps", "--filter", `health=${health}`, "--format", "{{.Names}}"]);
    expect((await filtered("unhealthy")).split("\n")).toContain("sick");
    const unhealthy = await healthOf("sick");
    expect(unhealthy.FailingStreak).toBeGreaterThanOrEqual(2);
    expect(unhealthy.Log.at(-1)).toMatchObject({ ExitCode: 1 });
    expect(unhealthy.Log.at(-1)?.Output).toContain("can't open '/well'");

    await engine.ok(["exec", "sick", "touch", "/well"]);
    const healthy = await untilHealth("sick", ({ Status }) => Status === "healthy");
    expect(healthy).toMatchObject({ FailingStreak: 0 });
    expect(healthy.Log.at(-1)).toMatchObject({ ExitCode: 0, Output: "fine\n" });
    expect((await filtered("healthy")).split("\n")).toContain("sick");
    expect(await engine.ok(["ps", "--filter", "name=sick", "--format", "{{.Status}}"])).toMatch(
      /^Up .+ \(healthy\)$/,
    );
    const many = await untilHealth("sick", ({ Log }) =>
      Log.every(({ ExitCode }) => ExitCode === 0),
    );
    expect(many.Log).toHaveLength(5);
    // Probes are nobody's execs: none is left behind.
    expect(JSON.parse(await inspect("sick", "{{json .ExecIDs}}")) ?? []).toBeArray();
  });

  test("a probe that hangs is killed with all it started, and a flood of output is bounded", async () => {
    await sleeper(
      ...(["hung", ...FAST, "--health-timeout", "300ms"] as const),
      "--health-cmd",
      "echo begun; sleep 777 & sleep 778",
    );
    // On a busy machine a probe may be killed before it says anything: not every one.
    const hung = await untilHealth(
      "hung",
      ({ Status, Log }) =>
        Status === "unhealthy" &&
        Log.at(-1)?.Output === "Health check exceeded timeout (300ms): begun\n",
    );
    expect(hung.Log.at(-1)?.ExitCode).toBe(-1);
    // The kill comes before the answer: at most one probe lives at a time.
    const alive = await engine.ok([
      "exec",
      "hung",
      "sh",
      "-c",
      "ps | grep -c ' sleep 77[78]$'; true",
    ]);
    expect(Number(alive)).toBeLessThanOrEqual(2);

    await sleeper("loud", ...FAST, "--health-timeout", "500ms", "--health-cmd", "yes flood");
    const loud = await untilHealth(
      "loud",
      ({ Status, Log }) => Status === "unhealthy" && Log.at(-1)?.Output.endsWith("...") === true,
    );
    const output = loud.Log.at(-1)?.Output ?? "";
    expect(output).toStartWith("Health check exceeded timeout (500ms): flood\n");
    expect(output.length).toBeLessThan(4096 + 100);
    expect(await engine.ok(["exec", "loud", "echo", "alive"])).toBe("alive");
    await engine.ok(["rm", "-f", "hung", "loud"]);
  });

  test("a probe that cannot be run is a failure that says why", async () => {
    await sleeper("nocmd", ...FAST, "--health-cmd", "nosuchprogram");
    const missing = await untilHealth("nocmd", ({ Log }) => Log.length > 0);
    expect(missing.Log[0]).toMatchObject({ ExitCode: 127 });
    await engine.ok(["rm", "-f", "nocmd"]);
    const answer = await engine.fetch("/v1.51/containers/create?name=direct", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        Image: "busybox",
        Cmd: ["sleep", "1000"],
        Healthcheck: { Test: ["CMD", "/nosuch"], Interval: 100e6, Retries: 1 },
      }),
    });
    expect(answer.status).toBe(201);
    await engine.ok(["start", "direct"]);
    const direct = await untilHealth("direct", ({ Status }) => Status === "unhealthy");
    expect(direct.Log[0]).toMatchObject({ ExitCode: -1 });
    expect(direct.Log[0]?.Output).toContain("no such file or directory");
    await engine.ok(["rm", "-f", "direct"]);
  });

  test("the start period forgives, and its interval is its own", async () => {
    await sleeper(
      "slow",
      ..."--health-interval 1h --health-start-period 1h --health-start-interval 50ms".split(" "),
      ..."--health-retries 1 --health-cmd".split(" "),
      "test -e /up",
    );
    const starting = await untilHealth("slow", ({ Log }) => Log.length >= 3);
    expect(starting).toMatchObject({ Status: "starting", FailingStreak: 0 });
    await engine.ok(["exec", "slow", "touch", "/up"]);
    await untilHealth("slow", ({ Status }) => Status === "healthy");
  });

  test("an image's HEALTHCHECK is taken, changed in part, and refused", async () => {
    await engine.ok([
      "import",
      "--change",
      "HEALTHCHECK NONE",
      await baseImage("busybox"),
      "unprobed:latest",
    ]);
    await engine.ok(["run", "-d", "--name", "unprobed", "unprobed", "sleep", "1000"]);
    expect(await inspect("unprobed", "{{json .Config.Healthcheck}}")).toBe('{"Test":["NONE"]}');
    await engine.ok(
      "run -d --name probed --health-interval 100ms --health-cmd true unprobed sleep 1000".split(
        " ",
      ),
    );
    await untilHealth("probed", ({ Status }) => Status === "healthy");
    await sleeper("refused", "--no-healthcheck");
    expect(await inspect("refused", "{{json .State.Health}}")).toBe("null");
    const negative = await engine.fetch("/v1.51/containers/create", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ Image: "busybox", Cmd: ["x"], Healthcheck: { Interval: 5 } }),
    });
    expect(negative.status).toBe(400);
    expect(await negative.text()).toContain("Interval in Healthcheck cannot be less than 1ms");
  });

  test("who is paused is not probed; who is unpaused is", async () => {
    await sleeper("paused", ...FAST, "--health-cmd", "true");
    await untilHealth("paused", ({ Status }) => Status === "healthy");
    await engine.ok(["pause", "paused"]);
    const before = await healthOf("paused");
    await untilHealth("sick", ({ Log }) => Log.length === 5);
    expect((await healthOf("paused")).Log).toEqual(before.Log);
    await engine.ok(["unpause", "paused"]);
    await untilHealth("paused", ({ Status }) => Status === "healthy");
  });

  test("survives the daemon: its state, its monitor, and the probe that was under way", async () => {
    await sleeper(
      ...(["survivor", ...FAST, "--health-timeout", "1h", "--health-cmd"] as const),
      "test -e /go || exit 1; for s in 779 780; do mv /hang$s /hung 2>/dev/null && sleep $s; done; true",
    );
    await untilHealth("survivor", ({ Status }) => Status === "unhealthy");
    const count = (seconds: number) =>
      engine.ok(["exec", "survivor", "sh", "-c", `ps | grep -c ' sleep ${seconds}$'; true`]);
    await engine.ok(["exec", "survivor", "touch", "/hang779", "/go"]);
    await until(async () => (await count(779)) === "1");
    // The next probe hangs as well, so that no more than one can have come when the log is read.
    await engine.ok(["exec", "survivor", "touch", "/hang780"]);
    const before = await healthOf("survivor");
    await engine.killDaemon();
    await engine.startDaemon();
    // What the old daemon knew is still there.
    await until(async () => (await count(780)) === "1");
    expect(await count(779)).toBe("0");
    expect((await healthOf("survivor")).Log).toContainEqual(
      before.Log.at(-1) as HealthState["Log"][0],
    );
    const end = "kill $(ps | grep ' sleep 780$' | awk '{print $1}')";
    await engine.ok(["exec", "survivor", "sh", "-c", end]);
    const after = await untilHealth("survivor", ({ Status }) => Status === "healthy");
    expect(after.Log.at(-1)?.ExitCode).toBe(0);
  });

  test("a restart begins anew and keeps the log", async () => {
    await sleeper("again", ...FAST, "--health-cmd", "true");
    await untilHealth("again", ({ Status }) => Status === "healthy");
    await engine.ok(["stop", "-t", "0", "again"]);
    expect((await healthOf("again")).Status).toBe("unhealthy");
    await engine.ok(["start", "again"]);
    expect((await healthOf("again")).Log.length).toBeGreaterThan(0);
    await untilHealth("again", ({ Status }) => Status === "healthy");
  });
});

describe("restart policies", () => {
  test("wait twice as long each time, count, and give up after the last try", async () => {
    await engine.ok(
      "run -d --name failing --restart on-failure:3 busybox sh -c".split(" ").concat("exit 7"),
    );
    expect(await engine.ok(["wait", "failing"])).toBe("7");
    await until(async () => (await inspect("failing", "{{.State.Status}}")) === "exited");
    expect(await inspect("failing", "{{.RestartCount}} {{.State.ExitCode}}")).toBe("3 7");
    const lines = await engine.ok([
      ..."events --since 0 --filter container=failing --format".split(" "),
      "{{.Action}} {{.TimeNano}}",
      "--until",
      String(Math.ceil(Date.now() / 1000)),
    ]);
    const happened = lines.split("\n").map((line) => line.split(" "));
    const times = (action: string) =>
      happened.filter(([name]) => name === action).map(([, nano]) => Number(nano) / 1e6);
    const [ends, starts] = [times("die"), times("start")];
    expect([ends.length, starts.length]).toEqual([4, 4]);
    const pauses = starts.slice(1).map((at, index) => at - (ends[index] ?? 0));
    for (const [index, least] of [100, 200, 400].entries()) {
      expect(pauses[index]).toBeGreaterThanOrEqual(least - 5);
    }
  });

  test("are changed on a running container, and obeyed at its next end", async () => {
    await sleeper("convert");
    await engine.ok(["update", "--restart", "always", "convert"]);
    const first = await inspect("convert", "{{.State.Pid}}");
    await engine.ok(["exec", "convert", "kill", "-9", "1"]).catch(() => "");
    // Pid 1 of a namespace takes no signal from inside: it is ended from here.
    process.kill(Number(first), "SIGKILL");
    const now = () =>
      inspect("convert", "{{.State.Running}} {{.State.Restarting}} {{.RestartCount}}");
    await until(async () => (await now()) === "true false 1");
    expect(await inspect("convert", "{{.State.Pid}}")).not.toBe(first);
    await engine.ok(["update", "--restart", "no", "convert"]);
    await engine.ok(["kill", "convert"]);
    expect(await inspect("convert", "{{.State.Status}}")).toBe("exited");
  });

  test("over a restart of the daemon: always starts, unless-stopped remembers the person", async () => {
    for (const policy of ["always", "unless-stopped", "no"]) {
      for (const how of ["stopped", "running"]) {
        await sleeper(`${policy}-${how}`, "--restart", policy);
      }
      await engine.ok(["stop", "-t", "0", `${policy}-stopped`]);
    }
    await engine.restartDaemon();
    const running = async (name: string) => inspect(name, "{{.State.Running}}");
    await until(async () => (await running("always-stopped")) === "true");
    expect(await running("unless-stopped-stopped")).toBe("false");
    expect(await running("no-stopped")).toBe("false");
    for (const policy of ["always", "unless-stopped", "no"]) {
      expect(await running(`${policy}-running`)).toBe("true");
    }
  });
});

describe("waiting and ending", () => {
  test("each condition of wait is answered when it comes true", async () => {
    const waiting = async (name: string, condition: string) => {
      const answer = await engine.fetch(`/v1.51/containers/${name}/wait?condition=${condition}`, {
        method: "POST",
      });
      return { answer, code: answer.json() as Promise<{ StatusCode: number }> };
    };
    await engine.ok(["create", "--name", "awaited", "busybox", "sh", "-c", "exit 5"]);
    const next = await waiting("awaited", "next-exit");
    const removed = await waiting("awaited", "removed");
    expect(await (await waiting("awaited", "not-running")).code).toMatchObject({ StatusCode: 0 });
    await engine.ok(["start", "awaited"]);
    expect(await next.code).toMatchObject({ StatusCode: 5 });
    expect(await (await waiting("awaited", "not-running")).code).toMatchObject({ StatusCode: 5 });
    await engine.ok(["rm", "awaited"]);
    expect(await removed.code).toMatchObject({ StatusCode: 5 });
    expect((await waiting("busy", "whenever")).answer.status).toBe(400);
  });

  test("a process that ignores every signal is killed when its time is up", async () => {
    const deaf = "trap '' TERM INT HUP QUIT USR1 USR2; echo deaf; while :; do sleep 1000; done";
    await engine.ok(["run", "-d", "--name", "deaf", "busybox", "sh", "-c", deaf]);
    await untilLogged("deaf", "deaf");
    await engine.ok(["kill", "-s", "TERM", "deaf"]);
    expect(await inspect("deaf", "{{.State.Running}}")).toBe("true");
    await engine.ok(["stop", "-t", "1", "deaf"]);
    expect(await inspect("deaf", "{{.State.Status}} {{.State.ExitCode}}")).toBe("exited 137");
    await engine.ok(["start", "deaf"]);
    await engine.ok(["kill", "deaf"]);
    expect(await inspect("deaf", "{{.State.ExitCode}}")).toBe("137");
  });

  test("ten thousand forks end at the limit, and the engine and the container's end do not notice", async () => {
    await sleeper("bomb", "--pids-limit", "64");
    const forks = "i=0; while [ $i -lt 10000 ]; do sleep 1000 & i=$((i+1)); done";
    // A shell that cannot fork gives up: others come after it until the limit is all taken.
    for (let round = 0; round < 3; round += 1) {
      await engine.docker(["exec", "-d", "bomb", "sh", "-c", forks]);
    }
    const stats = async () => {
      const answer = await engine.fetch("/v1.51/containers/bomb/stats?stream=0&one-shot=1");
      return (await answer.json()) as Stats;
    };
    await until(async () => ((await stats()).pids_stats.current ?? 0) >= 60);
    expect((await stats()).pids_stats.current).toBeLessThanOrEqual(64);
    expect(await engine.ok(["run", "--rm", "busybox", "echo", "unharmed"])).toBe("unharmed");
    const { Processes: processes } = (await (
      await engine.fetch("/v1.51/containers/bomb/top?ps_args=-eo%20pid,comm")
    ).json()) as { Processes: string[][] };
    expect(processes.length).toBeGreaterThan(30);
    await engine.docker(["exec", "bomb", "true"]);
    await engine.ok(["kill", "bomb"]);
    expect(await inspect("bomb", "{{.State.ExitCode}}")).toBe("137");
  });

  test.each([
    [["-o", "pid,args"], /^PID +COMMAND\n\d+ +sleep 1000$/],
    [["aux"], /^USER +PID +%CPU/],
    [["-eo", "user,pid,ppid,stat"], /^USER +PID +PPID +STAT/],
  ])("top takes the arguments of ps: %p", async (args, shown) => {
    if ((await engine.docker(["inspect", "shown"])).code !== 0) await sleeper("shown");
    expect(await engine.ok(["top", "shown", ...args])).toMatch(shown);
  });

  test.each([[["-o", "comm"]], [["-o", "pid=x"]], [["--nonsense"]]])(
    "and refuses those it cannot use: %p",
    async (args) => {
      expect((await engine.docker(["top", "shown", ...args])).code).toBe(1);
      expect(await engine.ok(["exec", "shown", "echo", "alive"])).toBe("alive");
    },
  );
});

describe("docker container prune", () => {
  test("removes what does not run, within its filters", async () => {
    await engine.ok(["create", "--name", "keep", "--label", "keep=yes", "busybox", "true"]);
    await engine.ok(["create", "--name", "old", "busybox", "true"]);
    await engine.ok([
      "run",
      "--name",
      "wrote",
      "busybox",
      "sh",
      "-c",
      "head -c 100000 /dev/zero > /x",
    ]);
    await sleeper("awake");
    const prune = (...filters: string[]) =>
      engine.ok(["container", "prune", "-f", ...filters.flatMap((text) => ["--filter", text])]);
    expect(await prune("until=24h")).toBe("Total reclaimed space: 0B");
    expect(await prune("label=nobody")).toBe("Total reclaimed space: 0B");
    const said = await prune("label!=keep");
    expect(said).toContain("Deleted Containers:");
    expect(said).toMatch(/Total reclaimed space: 10\d(\.\d+)?kB/);
    const left = await engine.ok(["ps", "-a", "--format", "{{.Names}}"]);
    expect(left.split("\n")).toContain("keep");
    expect(left.split("\n")).toContain("awake");
    expect(left.split("\n")).not.toContain("old");
    expect((await engine.docker(["container", "prune", "-f", "--filter", "colour=red"])).code).toBe(
      1,
    );
  });
});

describe("naru says the same as docker", () => {
  const SAME: readonly (readonly string[])[] = [
    ["update", "--pids-limit", "33", "twin"],
    ["update", "twin"],
    ["update", "-m", "1m", "twin"],
    ["update", "--restart", "sometimes", "twin", "nosuch"],
    ["stats", "--no-stream", "nosuch"],
    ["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.Container}}", "twin"],
    ["container", "prune", "-f", "--filter", "label=nobody"],
    ["container", "prune", "-f", "--filter", "colour=red"],
    ["ps", "--filter", "health=none", "--format", "{{.Names}}"],
    ["inspect", "--format", "{{.HostConfig.PidsLimit}}", "twin"],
  ];
  beforeAll(async () => {
    await sleeper("twin");
  });
  test.each(SAME.map((args) => [args.join(" "), args] as const))("%s", async (_, args) => {
    // Whoever had no sample within two seconds shows dashes, and asks again.
    const asked = async (ask: () => Promise<Finished>): Promise<Finished> => {
      let answer = await ask();
      for (let tries = 0; tries < 10 && answer.stdout.includes("--"); tries += 1) {
        answer = await ask();
      }
      return answer;
    };
    const docker = await asked(() => engine.docker(args));
    const naru = await asked(() => engine.naru(args));
    const plain = (text: string) => text.replaceAll("docker", "naru");
    expect({ ...naru, stderr: plain(naru.stderr) }).toEqual({
      ...docker,
      stderr: plain(docker.stderr),
    });
  });

  test("a question comes before the prune, and only y is yes", async () => {
    await engine.ok(["create", "--name", "asked", "busybox", "true"]);
    const declined = await engine.naru(["container", "prune"], { stdin: "n\n" });
    expect(declined.stdout).toContain("WARNING! This will remove all stopped containers.");
    const theirs = await engine.docker(["container", "prune"], { stdin: "n\n" });
    expect(declined.code).toBe(theirs.code);
    expect((await engine.docker(["inspect", "asked"])).code).toBe(0);
    const agreed = await engine.naru(["container", "prune"], { stdin: "y\n" });
    expect(agreed.stdout).toContain("Deleted Containers:");
    expect((await engine.docker(["inspect", "asked"])).code).toBe(1);
  });

  test("stats in tables, of all and of those that were named", async () => {
    const titles = "CONTAINER ID   NAME       CPU %     MEM USAGE / LIMIT".replace(
      "NAME  ",
      "NAME",
    );
    let all = await engine.naru(["stats", "--no-stream"]);
    // Whoever had no sample within two seconds shows dashes, and asks again.
    await until(async () => {
      if (/ twin +[\d.]+%/.test(all.stdout)) return true;
      all = await engine.naru(["stats", "--no-stream"]);
      return false;
    });
    expect(all.stdout.split("\n")[0]?.replaceAll(/ +/g, " ")).toStartWith(
      titles.replaceAll(/ +/g, " "),
    );
    expect(all.stdout).toMatch(/ twin +[\d.]+% +[\d.]+[KM]iB \/ /);
  });
});

/** The last whole picture of `naru top`, without colours. */
function lastFrame(output: string): string[] {
  const frames = output.split("\x1b[H");
  // The very last may still be on its way.
  const whole = frames.at(-2) ?? "";
  return Bun.stripANSI(whole).split("\r\n");
}

describe("naru top", () => {
  const size = { columns: 80, rows: 24 };
  const open = (args: readonly string[] = [], env: Record<string, string> = {}) =>
    runOnTerminal([NARU, "-H", `unix://${engine.socket}`, "top", ...args], size, env);

  test("draws what containers use, sorts, resizes, and gives the terminal back", async () => {
    await sleeper("quiet");
    await engine.ok([
      ..."run -d --name eager --cpus 0.2 busybox sh -c".split(" "),
      "while :; do :; done",
    ]);
    const top = open();
    try {
      const shows = (pattern: RegExp) =>
        until(async () =>
          Promise.resolve(lastFrame(top.output()).some((line) => pattern.test(line))),
        );
      await shows(/^eager +[1-9]\d*\.\d% .*[KM]iB .* 1$/);
      const lines = lastFrame(top.output());
      expect(lines).toHaveLength(24);
      for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(80);
      expect(lines[0]).toMatch(/^naru top: \d+ running +CPU \d+\.\d% +memory .* +net .* +disk /);
      // Most CPU first, until the sort is another.
      expect(lines[2]).toStartWith("eager");
      expect(lines[1]).toContain("*CPU%");
      top.type("\x1b[D");
      await shows(/^\*NAME/);
      const names = lastFrame(top.output())
        .slice(2, -1)
        .filter((line) => line !== "");
      const first = names.map((line) => line.split(" ")[0] ?? "");
      expect(first).toEqual(first.toSorted((a, b) => (a < b ? -1 : 1)));
      top.type("r");
      await shows(/^\^NAME/);
      top.type("/EAG");
      await shows(/^filter: EAG_/);
      const found = lastFrame(top.output()).slice(2, -1);
      expect(found.filter((line) => line !== "").map((line) => line.split(" ")[0])).toEqual([
        "eager",
      ]);
      top.type("\x1b");
      await shows(/^quiet/);
      top.type("h");
      await shows(/^ +q {2}esc {2}ctrl-c +quit/);
      top.type("h");
      await shows(/^quiet/);
      top.resize({ columns: 120, rows: 40 });
      await until(async () => Promise.resolve(lastFrame(top.output()).length === 40));
      await shows(/STATUS/);
      top.type("a");
      await engine.ok(["kill", "eager"]);
      await shows(/^eager +- .*Exited \(137\)/);
      await engine.ok(["rm", "eager"]);
      await until(async () =>
        Promise.resolve(!lastFrame(top.output()).some((line) => line.startsWith("eager"))),
      );
      top.type("q");
      expect(await top.exited).toBe(0);
      const output = top.output();
      expect(output).toContain("\x1b[?1049h\x1b[?25l");
      expect(output.trimEnd()).toEndWith("\x1b[?25h\x1b[?1049l");
    } finally {
      top.kill();
    }
  });

  test("ends at ^C and when it is told to, and shows no colour where none is wanted", async () => {
    for (const ending of ["\x03", "\x1b"]) {
      const top = open(["--sort", "memory"], { NO_COLOR: "1" });
      try {
        await until(async () => Promise.resolve(lastFrame(top.output()).length === 24));
        for (const colour of ["7m", "32m", "1m"])
          expect(top.output()).not.toContain(`\x1b[${colour}`);
        top.type(ending);
        expect(await top.exited).toBe(0);
        expect(top.output().trimEnd()).toEndWith("\x1b[?25h\x1b[?1049l");
      } finally {
        top.kill();
      }
    }
  });

  test("needs a terminal, and is docker's top where a container is named", async () => {
    const piped = await engine.naru(["top"]);
    expect(piped.code).toBe(1);
    expect(piped.stderr).toContain("the live view needs a terminal");
    await sleeper("processes");
    const [docker, naru] = await Promise.all([
      engine.docker(["top", "processes", "-o", "pid,comm"]),
      engine.naru(["top", "processes", "-o", "pid,comm"]),
    ]);
    expect(naru).toEqual(docker);
    expect(naru.stdout).toMatch(/^PID +COMMAND\n\d+ +sleep\n$/);
  });
});

test("every answer agreed with the API definition", () => {
  expect(engine.violations()).toEqual([]);
});
