import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";

import { startFakeDaemon, type FakeDaemon } from "../fake-daemon.ts";
import { parseFlags } from "../flags/parse.ts";
import { containerRequest } from "../options/container-request.ts";
import { create } from "./create.ts";

const root = mkdtempSync("/tmp/naru-test-create-");
let daemon: FakeDaemon;

beforeAll(async () => {
  writeFileSync(`${root}/env`, "# a comment\nA=1\nHOME\n B=2 \nNOT_SET_ANYWHERE\n");
  writeFileSync(`${root}/labels`, "l1=v\n l2\n");
  writeFileSync(`${root}/seccomp.json`, '{ "defaultAction": "SCMP_ACT_ALLOW" }');
  daemon = await startFakeDaemon(`${root}/d.sock`);
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

/** Without what says nothing (null, "", 0, false, empty lists and maps): docker and we leave out different ones. */
function essence(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(essence).filter((item) => item !== undefined);
    return items.length === 0 ? undefined : items;
  }
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value)
      .map(([key, field]): [string, unknown] => [key, essence(field)])
      .filter(([, field]) => field !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1));
    return fields.length === 0 ? undefined : Object.fromEntries(fields);
  }
  return value === null || value === "" || value === 0 || value === false ? undefined : value;
}

/** Docker keeps these in a map, so their order is chance. */
const MAPS = ["Binds", "Ulimits", "DeviceRequests"];

function sorted(body: unknown, maps: readonly string[]): unknown {
  const text = JSON.stringify(body, (key, value: unknown) =>
    maps.includes(key) && Array.isArray(value)
      ? value.map((item) => JSON.stringify(item)).toSorted()
      : value,
  );
  return JSON.parse(text);
}

const cases = [
  "",
  "-it",
  "-a stdout",
  "-a stdin -a stderr",
  "-e A=1 -e HOME -e NOT_SET_ANYWHERE",
  "--env-file ROOT/env -e A=2",
  "-l a=b -l c --label-file ROOT/labels",
  "-m 64m --memory-swap -1 --memory-reservation 1.5g --cpus 1.5 -c 7 --cpuset-cpus 0-1 --pids-limit 50 --shm-size 1g",
  "-p 80 -p 8080:81/udp -p 127.0.0.1:90:90 -p [::1]::91 -p 1000-1002:1000-1002 -p 8000-8010:92 --expose 5 --expose 6-7/udp -P",
  "-p published=8080,target=80,protocol=udp",
  "-v /a:/b -v vol:/c:ro -v /anon -v ./rel:/d --tmpfs /t --tmpfs /u:size=5m --volumes-from x:ro --volume-driver local",
  "--mount type=bind,src=/a,dst=/b,ro,bind-propagation=rslave",
  "--mount type=volume,source=v,target=/b,volume-nocopy,volume-label=a=b,volume-opt=o=p,volume-driver=d",
  "--mount type=tmpfs,dst=/c,tmpfs-size=1m,tmpfs-mode=1777 --mount type=bind,src=.,dst=/x",
  "--network foo --ip 1.2.3.4 --network-alias al --link a:b",
  "--network name=foo,alias=x,ip=1.2.3.4,driver-opt=a=b --network bar",
  "--network container:abc",
  "--mac-address 02:42:ac:11:00:02",
  "--name n --hostname h --domainname d -u 1:2 -w /w --entrypoint e",
  "--rm --init --privileged --read-only --cap-add NET_ADMIN --cap-drop all",
  "--security-opt no-new-privileges --security-opt seccomp=ROOT/seccomp.json --security-opt label:disable",
  "--restart on-failure:3",
  "--health-cmd x --health-interval 5s --health-retries 2 --health-timeout 1m --health-start-period 1s",
  "--no-healthcheck --stop-signal SIGINT --stop-timeout 5",
  "--log-driver json-file --log-opt max-size=1m",
  "--dns 1.1.1.1 --dns-search a.b --dns-option ndots:1 --add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway",
  "--ulimit nofile=10:20 --ulimit core=-1 --oom-kill-disable --oom-score-adj 5 --memory-swappiness 5",
  "--blkio-weight 10 --blkio-weight-device /dev/a:10 --device-read-bps /dev/a:1mb --device-write-iops /dev/a:5",
  "--device /dev/null --device /dev/zero:/dev/z:r --device /dev/x:rw --device vendor.com/gpu=all --gpus all",
  "--pid host --ipc host --uts host --userns host --cgroupns private --cgroup-parent /x",
  "--sysctl net.ipv4.ip_forward=1 --annotation a=b --storage-opt size=1g --runtime runc --group-add 5",
];

describe.skipIf(Bun.which("docker") === null)("what naru sends is what docker sends", () => {
  test.each(cases)("%s", async (line) => {
    const words = [
      ...line
        .replaceAll("ROOT", root)
        .split(" ")
        .filter((word) => word !== ""),
      "busybox",
      "cmd",
      "-x",
    ];
    daemon.bodies.length = 0;
    const docker = Bun.spawn(["docker", "create", ...words], {
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"], DOCKER_HOST: daemon.host },
      stdout: "ignore",
      stderr: "pipe",
      stdin: "ignore",
    });
    expect(await new Response(docker.stderr).text()).toBe("");
    const { flags, args } = parseFlags(words, create.flags, { interspersed: false });
    const { config } = containerRequest(flags, args, process.env);
    // Among the proxy's settings too: the variables of `-e`, not those of files, which come before them.
    const maps = words.filter((word) => word === "-e").length > 1 ? [...MAPS, "Env"] : MAPS;
    expect(sorted(essence(config), maps)).toEqual(sorted(essence(daemon.bodies[0]), maps));
  });
});
