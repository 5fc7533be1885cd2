/** Names inside user networks: who finds whom, who is asked next, and what survives whose death. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";

import { decode, encode, type Packet, streamDecode, streamEncode } from "dns-packet";

import { inNetworkNamespace } from "../../src/linux/namespace/index.ts";
import { type Engine, startEngine } from "./engine.ts";
import { eventually } from "./until.ts";

let engine: Engine;
let upstream: Awaited<ReturnType<typeof startUpstream>>;
/** Of the container `client`: its network is where questions come from. */
let clientPid: number;

beforeAll(async () => {
  upstream = await startUpstream();
  engine = await startEngine();
  await engine.ok(["network", "create", "shop"]);
  await engine.ok(["network", "create", "--ipv6", "--subnet", "fd00:d15::/64", "dual"]);
  await engine.ok(["network", "create", "--internal", "inner"]);
  await hold("web", "--network", "shop", "--network-alias", "www");
  await hold("client", "--network", "shop", "--dns", upstream.address);
  clientPid = await pidOf("client");
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  upstream.close();
});

const hold = async (name: string, ...options: string[]) =>
  await engine.ok(["run", "-d", "--name", name, ...options, "busybox", "sleep", "600"]);
const pidOf = async (name: string) =>
  Number(await engine.ok(["inspect", "-f", "{{.State.Pid}}", name]));
const addressOf = async (name: string, network: string) =>
  await engine.ok([
    "inspect",
    "-f",
    `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`,
    name,
  ]);

type RecordType = "A" | "AAAA" | "PTR" | "TXT";

function inside<T>(pid: number, work: () => T): T {
  const fd = openSync(`/proc/${pid}/ns/net`, "r");
  try {
    // Bun opens sockets before its calls return.
    return inNetworkNamespace(fd, work as () => T extends PromiseLike<unknown> ? never : T);
  } finally {
    closeSync(fd);
  }
}

/** Sends bytes to the resolver inside; answers what comes back, or null after a while of nothing. */
async function exchange(pid: number, bytes: Uint8Array, waitMs = 60_000): Promise<Buffer | null> {
  const { promise, resolve } = Promise.withResolvers<Buffer | null>();
  const opening = inside(pid, () => ({
    socket: Bun.udpSocket({
      connect: { hostname: "127.0.0.11", port: 53 },
      socket: { data: (_, data) => resolve(Buffer.from(data)), error: () => resolve(null) },
    }),
  }));
  const socket = await opening.socket;
  const timer = setTimeout(() => resolve(null), waitMs);
  socket.send(bytes);
  const answer = await promise;
  clearTimeout(timer);
  socket.close();
  return answer;
}

const question = (name: string, type: RecordType = "A", more: Partial<Packet> = {}) =>
  encode({ type: "query", id: 77, flags: 256, questions: [{ name, type }], ...more });

async function ask(name: string, type: RecordType = "A", pid = clientPid) {
  const bytes = await exchange(pid, question(name, type));
  if (bytes === null) throw new Error(`no answer for ${name}`);
  const packet = decode(bytes) as Packet & { rcode?: string };
  expect(packet.id).toBe(77);
  return {
    code: packet.rcode ?? "",
    data: (packet.answers ?? []).map((answer) =>
      "data" in answer && typeof answer.data === "string" ? answer.data : "",
    ),
  };
}

/** A resolver of the host's on addresses nobody else uses, and one beside it that never answers. */
async function startUpstream() {
  const [a = 0, b = 0] = crypto.getRandomValues(new Uint8Array(2));
  const [address, silent] = [`127.53.${a}.${b}`, `127.54.${a}.${b}`];
  const asked: string[] = [];
  const answer = (message: Buffer, isTcp: boolean) => {
    const { id, questions } = decode(message);
    const name = questions?.[0]?.name ?? "";
    asked.push(name);
    const base = { type: "response" as const, id: id ?? 0, questions: questions ?? [] };
    if (name === "large.test" && !isTcp) return encode({ ...base, flags: 0x0200 });
    const many = name === "large.test" ? 100 : 1;
    const answers = Array.from({ length: many }, (_, index) => ({
      type: "A" as const,
      name,
      data: `203.0.113.${index + 1}`,
    }));
    if (name === "missing.test") return encode({ ...base, flags: 3 });
    if (name === "broken.test") return encode({ ...base, flags: 2 });
    if (name === "forged.test") return encode({ ...base, id: ((id ?? 0) + 1) & 0xffff, answers });
    return encode({ ...base, answers });
  };
  const open = (hostname: string, reply: boolean) =>
    Bun.udpSocket({
      hostname,
      port: 53,
      socket: {
        data: (socket, data, port, from) => {
          if (reply) socket.send(answer(Buffer.from(data), false), port, from);
        },
      },
    });
  const sockets = await Promise.all([open(address, true), open(silent, false)]);
  const tcp = Bun.listen({
    hostname: address,
    port: 53,
    socket: {
      data: (socket, data) => {
        const { id = 0, questions = [] } = streamDecode(Buffer.from(data)) ?? {};
        socket.write(frame(answer(encode({ type: "query", id, questions }), true)));
      },
    },
  });
  const close = () => {
    for (const socket of sockets) socket.close();
    tcp.stop(true);
  };
  return { address, silent, asked, close };
}

function frame(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(message.length + 2);
  new DataView(bytes.buffer).setUint16(0, message.length);
  bytes.set(message, 2);
  return bytes;
}

test("containers of a user network find each other by name, alias, short id and in reverse", async () => {
  const address = await addressOf("web", "shop");
  const id = (await engine.ok(["inspect", "-f", "{{.Id}}", "web"])).slice(0, 12);
  for (const name of ["web", "WEB", "www", id, "web.shop"]) {
    expect({ name, ...(await ask(name)) }).toEqual({ name, code: "NOERROR", data: [address] });
  }
  expect(await ask("web", "AAAA")).toEqual({ code: "NOERROR", data: [] });
  expect(await ask("web", "TXT")).toEqual({ code: "NOERROR", data: [] });
  const reverse = `${address.split(".").toReversed().join(".")}.in-addr.arpa`;
  expect(await ask(reverse, "PTR")).toEqual({ code: "NOERROR", data: ["web.shop"] });
  // What programs use.
  expect(await engine.ok(["exec", "client", "nslookup", "web"])).toContain(`Address: ${address}`);
  expect(await engine.ok(["exec", "client", "ping", "-c", "1", "-w", "5", "www"])).toContain(
    "1 packets received",
  );
  const resolv = await engine.ok(["exec", "client", "cat", "/etc/resolv.conf"]);
  expect(resolv).toContain("\nnameserver 127.0.0.11\n");
  expect(resolv).toContain("ndots:0");
  expect(resolv).toContain(`# ExtServers: [${upstream.address}]`);
});

test("an alias that several share is answered with all of them; names come and go with their containers", async () => {
  await hold("many1", "--network", "shop", "--network-alias", "many");
  await hold("many2", "--network", "shop", "--network-alias", "many");
  const both = [await addressOf("many1", "shop"), await addressOf("many2", "shop")].toSorted();
  expect((await ask("many")).data.toSorted()).toEqual(both);
  await engine.ok(["rm", "-f", "many1"]);
  expect((await ask("many")).data).toEqual([await addressOf("many2", "shop")]);
  await engine.ok(["rename", "many2", "other"]);
  expect((await ask("other")).data).toEqual([await addressOf("other", "shop")]);
  await engine.ok(["rm", "-f", "other"]);
});

test("names follow connect and disconnect of running containers", async () => {
  await engine.ok(["network", "create", "second"]);
  await engine.ok(["network", "connect", "--alias", "guest", "second", "web"]);
  await engine.ok(["network", "connect", "second", "client"]);
  expect((await ask("guest")).data).toEqual([await addressOf("web", "second")]);
  await engine.ok(["network", "disconnect", "second", "web"]);
  expect((await ask("guest")).data).toEqual(["203.0.113.1"]);
  await engine.ok(["network", "disconnect", "second", "client"]);
  expect((await ask("web")).data).toEqual([await addressOf("web", "shop")]);
  await engine.ok(["network", "rm", "second"]);
});

test("both families are answered in a network that has both", async () => {
  await hold("six", "--network", "dual");
  const pid = await pidOf("six");
  const { data } = await ask("six", "AAAA", pid);
  expect(data).toEqual([
    await engine.ok([
      "inspect",
      "-f",
      "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}",
      "six",
    ]),
  ]);
  expect((await ask("six", "A", pid)).data).toEqual([await addressOf("six", "dual")]);
  const last = (data[0] ?? "").replace("fd00:d15::", "").padStart(4, "0");
  const reverse = `fd000d15${"0".repeat(20)}${last}`.split("").toReversed().join(".");
  expect(await ask(`${reverse}.ip6.arpa`, "PTR", pid)).toEqual({
    code: "NOERROR",
    data: ["six.dual"],
  });
  // Other networks are none of its business.
  expect((await ask("six")).data).not.toEqual(data);
  await engine.ok(["rm", "-f", "six"]);
});

test("what is no container is asked of the servers in turn, large answers by TCP, and forgeries are ignored", async () => {
  const servers = [upstream.silent, upstream.address].flatMap((server) => ["--dns", server]);
  await hold("patient", "--network", "shop", ...servers);
  const answered = await ask("example.test", "A", await pidOf("patient"));
  expect(answered).toEqual({ code: "NOERROR", data: ["203.0.113.1"] });
  await engine.ok(["rm", "-f", "patient"]);
  expect(await ask("example.test")).toEqual({ code: "NOERROR", data: ["203.0.113.1"] });
  expect((await ask("missing.test")).code).toBe("NXDOMAIN");
  expect((await ask("broken.test")).code).toBe("SERVFAIL");
  expect((await ask("forged.test")).code).toBe("SERVFAIL");
  const cut = await exchange(clientPid, question("large.test"));
  expect(cut === null ? null : decode(cut).flag_tc).toBe(true);
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const received: Buffer[] = [];
  const connecting = inside(clientPid, () => ({
    socket: Bun.connect({
      hostname: "127.0.0.11",
      port: 53,
      socket: {
        open: (socket) =>
          void socket.write(
            streamEncode({ type: "query", id: 78, questions: [{ name: "large.test", type: "A" }] }),
          ),
        data: (_, data) => {
          received.push(Buffer.from(data));
          const all = Buffer.concat(received);
          if (all.length >= 2 && all.length >= all.readUInt16BE(0) + 2) resolve(all);
        },
      },
    }),
  }));
  const whole = streamDecode(await promise);
  expect([whole?.id, whole?.answers?.length]).toEqual([78, 100]);
  (await connecting.socket).terminate();
});

test("an internal network's resolver knows its containers and asks nobody else", async () => {
  await hold("secret", "--network", "inner", "--dns", upstream.address);
  const pid = await pidOf("secret");
  expect((await ask("secret", "A", pid)).data).toEqual([await addressOf("secret", "inner")]);
  expect((await ask("leak.test", "A", pid)).code).toBe("SERVFAIL");
  expect(upstream.asked).not.toContain("leak.test");
  await engine.ok(["rm", "-f", "secret"]);
});

test("a container's own server may take port 53 of every address", async () => {
  const taken = inside(clientPid, () => ({
    udp: Bun.udpSocket({ hostname: "0.0.0.0", port: 53, socket: { data: () => undefined } }),
    tcp: Bun.listen({ hostname: "0.0.0.0", port: 53, socket: { data: () => undefined } }),
  }));
  const udp = await taken.udp;
  expect([udp.port, taken.tcp.port]).toEqual([53, 53]);
  expect((await ask("web")).data).toEqual([await addressOf("web", "shop")]);
  udp.close();
  taken.tcp.stop(true);
});

test("hostile packets get an error or nothing, and the resolver goes on", async () => {
  const header = (counts: number[], flags = 0x0100) => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16BE(77, 0);
    bytes.writeUInt16BE(flags, 2);
    for (const [index, count] of counts.entries()) bytes.writeUInt16BE(count, 4 + index * 2);
    return bytes;
  };
  const tail = Buffer.from([0, 1, 0, 1]);
  const loop = Buffer.concat([header([1, 0, 0, 0]), Buffer.from([0xc0, 0x0c]), tail]);
  const giant = Buffer.concat([header([65535, 65535, 65535, 65535]), Buffer.from([0]), tail]);
  const cut = Buffer.concat([header([1, 0, 0, 0]), Buffer.from([63, 97, 97])]);
  const opcode = Buffer.concat([header([1, 0, 0, 0], 0x2900), Buffer.from([0]), tail]);
  const codes = async (bytes: Buffer) => {
    const answer = await exchange(clientPid, bytes);
    return answer === null ? null : (decode(answer) as { rcode?: string }).rcode;
  };
  expect(await codes(loop)).toBe("FORMERR");
  expect(await codes(giant)).toBe("FORMERR");
  expect(await codes(cut)).toBe("FORMERR");
  expect(await codes(opcode)).toBe("NOTIMP");
  // An answer nobody asked for, and less than a header: silence, seen by the next question being answered first.
  const answered = Buffer.from(
    encode({ type: "response", id: 77, questions: [{ name: "web", type: "A" }] }),
  );
  expect(await exchange(clientPid, answered, 100)).toBeNull();
  expect(await exchange(clientPid, Buffer.from([1, 2, 3]), 100)).toBeNull();
  expect((await ask("web")).data).toEqual([await addressOf("web", "shop")]);
});

test("who asks without end is refused, and takes nothing from the others", async () => {
  await hold("flood", "--network", "shop", "--dns", upstream.silent);
  const codes: string[] = [];
  const full = Promise.withResolvers<void>();
  const opening = inside(await pidOf("flood"), () => ({
    socket: Bun.udpSocket({
      connect: { hostname: "127.0.0.11", port: 53 },
      socket: {
        data: (_, data) => {
          codes.push((decode(Buffer.from(data)) as { rcode?: string }).rcode ?? "");
          if (codes.length === 100) full.resolve();
        },
      },
    }),
  }));
  const socket = await opening.socket;
  // More than may be under way at a time: those beyond are answered at once, those before wait for nobody.
  for (let index = 0; index < 300; index += 1) {
    socket.send(encode({ type: "query", id: index, flags: 256, questions: [asked(index)] }));
  }
  await full.promise;
  expect(new Set(codes)).toEqual(new Set(["REFUSED"]));
  expect((await ask("example.test")).data).toEqual(["203.0.113.1"]);
  // Names of the network cost nothing, and are answered still.
  const address = await addressOf("web", "shop");
  expect((await ask("web", "A", await pidOf("flood"))).data).toEqual([address]);
  socket.close();
  await engine.ok(["rm", "-f", "flood"]);
});

const asked = (index: number) => ({ name: `n${index}.test`, type: "A" as const });

test("names resolve while the daemon is away, and after the supervisor's death", async () => {
  const address = await addressOf("web", "shop");
  await engine.killDaemon();
  expect((await ask("web")).data).toEqual([address]);
  expect((await ask("example.test")).data).toEqual(["203.0.113.1"]);
  await engine.startDaemon();
  process.kill(engine.supervisorPid(), "SIGKILL");
  // An exec that succeeds was made by a new supervisor, which has taken over the resolvers first.
  const found = () => engine.ok(["exec", "client", "nslookup", "www"]);
  await eventually(async () => expect(await found()).toContain(`Address: ${address}`));
  expect((await ask("web")).data).toEqual([address]);
});
