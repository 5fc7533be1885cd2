import { afterAll, beforeAll, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { closeSync, openSync } from "node:fs";

import { checked } from "#linux/ffi";
import { openNetlink } from "#linux/netlink";

import type { PortRequest } from "../network-service.ts";
import { PortReservations } from "./reservations.ts";

const CLONE_NEWNET = 0x40000000;

/** This thread lives in a namespace of its own while the file runs: no port of the host is touched. */
let home = -1;
beforeAll(() => {
  home = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
  using netlink = openNetlink();
  netlink.setLink("lo", { up: true });
});
afterAll(() => {
  checked("setns", "net", home, CLONE_NEWNET);
  closeSync(home);
});

const opened = () => {
  const reservations = new PortReservations();
  return Object.assign(reservations, {
    [Symbol.dispose]: () => {
      for (const { id } of reservations.list()) reservations.release(id);
    },
  });
};

const tcp = (hostPort: number, more: Partial<PortRequest> = {}): PortRequest => ({
  protocol: "tcp",
  containerPort: 80,
  hostAddress: "",
  hostPort,
  ...more,
});

const refusalOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => "nothing was refused",
    (thrown: Error) => thrown.message,
  );

const listen = (hostname: string, port: number, ipv6Only = true) => {
  const options = { ipv6Only };
  return Bun.listen({ ...options, hostname, port, socket: { data: () => undefined } });
};

test("a port of every address is held on 0.0.0.0 and [::], against every program of the host", async () => {
  using reservations = opened();
  const ports = await reservations.reserve({ id: "a", ports: [tcp(8080)], target: "127.0.0.2" });
  expect(ports).toEqual([
    { protocol: "tcp", containerPort: 80, hostAddress: "0.0.0.0", hostPort: 8080 },
    { protocol: "tcp", containerPort: 80, hostAddress: "::", hostPort: 8080 },
  ]);
  expect(reservations.list()).toEqual([{ id: "a", ports }]);
  for (const address of ["0.0.0.0", "127.0.0.1", "::", "::1"]) {
    expect(() => listen(address, 8080)).toThrow();
  }
  reservations.release("a");
  reservations.release("a");
  for (const address of ["0.0.0.0", "::"]) listen(address, 8080).stop(true);
});

test("a port another container holds is already allocated, and nothing of the second is kept", async () => {
  using reservations = opened();
  await reservations.reserve({ id: "a", ports: [tcp(8080)], target: "127.0.0.2" });
  const second = { id: "b", ports: [tcp(8081), tcp(8080)], target: "127.0.0.3" };
  expect(await refusalOf(reservations.reserve(second))).toBe(
    "Bind for 0.0.0.0:8080 failed: port is already allocated",
  );
  const only = tcp(8080, { hostAddress: "127.0.0.1" });
  expect(await refusalOf(reservations.reserve({ ...second, ports: [only] }))).toBe(
    "Bind for 127.0.0.1:8080 failed: port is already allocated",
  );
  expect(reservations.list().map(({ id }) => id)).toEqual(["a"]);
  listen("0.0.0.0", 8081).stop(true);
});

test("a port another program listens on is in use, for IPv4, IPv6 and both", async () => {
  using reservations = opened();
  for (const [address, shown] of [
    ["0.0.0.0", "0.0.0.0:8090"],
    ["127.0.0.1", "0.0.0.0:8090"],
    ["::", "[::]:8090"],
  ] as const) {
    const foreign = listen(address, 8090);
    const attempt = reservations.reserve({ id: "a", ports: [tcp(8090)], target: "127.0.0.2" });
    expect(await refusalOf(attempt)).toBe(
      `failed to bind host port for ${shown}:127.0.0.2:80/tcp: address already in use`,
    );
    foreign.stop(true);
  }
  expect(reservations.list()).toEqual([]);
});

test("a port just given back that a newborn still has a copy of is waited for", async () => {
  using reservations = opened();
  const target = "127.0.0.2";
  await reservations.reserve({ id: "a", ports: [tcp(8095)], target });
  reservations.release("a");
  const copy = listen("0.0.0.0", 8095);
  const waiting = reservations.reserve({ id: "b", ports: [tcp(8095)], target });
  copy.stop(true);
  expect(await waiting).toHaveLength(2);
});

test("an address the host does not have cannot be bound, and a text that is none is invalid", async () => {
  using reservations = opened();
  const bind = (hostAddress: string) =>
    reservations.reserve({ id: "a", ports: [tcp(80, { hostAddress })], target: "127.0.0.2" });
  expect(await refusalOf(bind("198.51.100.7"))).toContain("cannot assign requested address");
  expect(await refusalOf(bind("2001:db8::7"))).toContain("cannot assign requested address");
  expect(await refusalOf(bind("localhost"))).toContain("invalid IP address: localhost");
});

test("UDP and TCP of one number are different ports", async () => {
  using reservations = opened();
  const ports = [tcp(5353), tcp(5353, { protocol: "udp" })];
  expect(await reservations.reserve({ id: "a", ports, target: "127.0.0.2" })).toHaveLength(4);
});

test("a chosen port is the same for IPv4 and IPv6 and not one just given back", async () => {
  using reservations = opened();
  const choose = async () => {
    const ports = await reservations.reserve({ id: "a", ports: [tcp(0)], target: "127.0.0.2" });
    expect(new Set(ports.map(({ hostPort }) => hostPort)).size).toBe(1);
    return ports[0]?.hostPort ?? 0;
  };
  const first = await choose();
  expect(first).toBe(32_768);
  reservations.release("a");
  expect(await choose()).toBe(first + 1);
});

test("of a range the first port that is free is taken, and a full range is an error", async () => {
  using reservations = opened();
  using foreign = listen("127.0.0.1", 9000);
  expect(foreign.port).toBe(9000);
  const range = tcp(9000, { hostPortEnd: 9001 });
  const ports = await reservations.reserve({ id: "a", ports: [range], target: "127.0.0.2" });
  expect(ports.map(({ hostPort }) => hostPort)).toEqual([9001, 9001]);
  const second = reservations.reserve({ id: "b", ports: [range], target: "127.0.0.3" });
  expect(await refusalOf(second)).toBe("Bind for 0.0.0.0:9001 failed: port is already allocated");
});

test("a release that comes while a reservation waits wins, and nothing stays held", async () => {
  using reservations = opened();
  const ports = [tcp(8100), tcp(8101, { protocol: "udp" })];
  const waiting = reservations.reserve({ id: "a", ports, target: "127.0.0.2" });
  reservations.release("a");
  expect(await refusalOf(waiting)).toContain("released");
  expect(reservations.list()).toEqual([]);
  for (const address of ["0.0.0.0", "::"]) listen(address, 8100).stop(true);
});

/** A server on 127.0.0.2:80 that answers when the client has finished sending: the answer is the size. */
const sizeServer = () =>
  Bun.listen<{ size: number }>({
    hostname: "127.0.0.2",
    port: 80,
    allowHalfOpen: true,
    data: { size: 0 },
    socket: {
      open: (socket) => {
        socket.data = { size: 0 };
      },
      data: (socket, bytes) => {
        socket.data.size += bytes.length;
      },
      end: (socket) => {
        socket.end(`${socket.data.size} bytes`);
      },
    },
  });

test("[::1] is relayed to the container, half-closed connections and large uploads too", async () => {
  using reservations = opened();
  using server = sizeServer();
  await reservations.reserve({ id: "a", ports: [tcp(8110)], target: server.hostname });
  const size = 20 * 1024 * 1024;
  const child = Bun.spawn(["python3", "-c", upload, "8110", `${size}`], { stdout: "pipe" });
  expect((await child.stdout.text()).trim()).toBe(`${size} bytes`);
});

const upload = `
import socket, sys
s = socket.create_connection(("::1", int(sys.argv[1])), 10)
s.sendall(b"x" * int(sys.argv[2]))
s.shutdown(socket.SHUT_WR)
answer = b""
while True:
    part = s.recv(4096)
    if not part: break
    answer += part
print(answer.decode())
`;

test("a slow reader does not make the relay hold what it has not read", async () => {
  using reservations = opened();
  const size = 64 * 1024 * 1024;
  const chunk = new Uint8Array(256 * 1024);
  let left = size;
  const pump = (socket: { write(bytes: Uint8Array): number; end(): void }) => {
    while (left > 0) {
      const written = socket.write(chunk.subarray(0, Math.min(chunk.length, left)));
      left -= Math.max(written, 0);
      if (written < chunk.length) break;
    }
    if (left === 0) socket.end();
  };
  using server = Bun.listen({
    hostname: "127.0.0.2",
    port: 80,
    socket: { open: pump, drain: pump, data: () => undefined },
  });
  await reservations.reserve({ id: "a", ports: [tcp(8111)], target: server.hostname });
  const child = Bun.spawn(["python3", "-c", slowDownload, "8111"], {
    stdin: "pipe",
    stdout: "pipe",
  });
  const lines = child.stdout.getReader();
  await lines.read();
  const unsent = left;
  await child.stdin.write("go\n");
  await child.stdin.end();
  const { value } = await lines.read();
  expect(new TextDecoder().decode(value).trim()).toBe(`${size}`);
  expect(unsent).toBeGreaterThan(size / 2);
});

const slowDownload = `
import socket, sys
s = socket.create_connection(("::1", int(sys.argv[1])), 10)
size = len(s.recv(1000))
print("stopped", flush=True)
sys.stdin.readline()
while True:
    part = s.recv(1 << 20)
    if not part: break
    size += len(part)
print(size, flush=True)
`;

test("a connection to a container that does not listen is closed, and closing cuts open ones", async () => {
  using reservations = opened();
  await reservations.reserve({ id: "a", ports: [tcp(8112)], target: "127.0.0.2" });
  const closed = async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    await Bun.connect({
      hostname: "::1",
      port: 8112,
      socket: {
        open: () => reservations.release("a"),
        data: () => undefined,
        close: () => resolve("closed"),
      },
    });
    return promise;
  };
  expect(await closed()).toBe("closed");
});

test("UDP to [::1] is relayed and answered, several clients at once", async () => {
  using reservations = opened();
  const server = createSocket("udp4");
  server.on("message", (bytes, { port, address }) =>
    server.send(`re ${bytes.toString()}`, port, address),
  );
  await new Promise<void>((resolve) => server.bind(53, "127.0.0.2", resolve));
  const udp = tcp(8113, { protocol: "udp", containerPort: 53 });
  await reservations.reserve({ id: "a", ports: [udp], target: "127.0.0.2" });
  const ask = (text: string) =>
    new Promise<string>((resolve) => {
      const client = createSocket("udp6");
      client.on("message", (bytes) => {
        client.close();
        resolve(bytes.toString());
      });
      client.send(text, 8113, "::1");
    });
  expect(await Promise.all([ask("one"), ask("two")])).toEqual(["re one", "re two"]);
  server.close();
});
