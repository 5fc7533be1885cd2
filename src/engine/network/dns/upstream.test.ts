import { afterAll, expect, test } from "bun:test";
import { decode, encode, type Packet } from "dns-packet";

import { parseQuery, type Query } from "./packet.ts";
import { askUpstream, framed, MessageReader } from "./upstream.ts";

/** What a server does with a question: messages it sends, in order, maybe from another port. */
type Behaviour = (question: Packet) => readonly { message: Uint8Array; fromElsewhere?: true }[];

const open: { close(): void }[] = [];
afterAll(() => {
  for (const socket of open) socket.close();
});

const PORT = 5300 + (process.pid % 40_000);
let servers = 0;

/** On an address of its own, all on one port. */
async function serve(behaviour: Behaviour): Promise<{ address: string; asked: Packet[] }> {
  servers += 1;
  const address = `127.99.${process.pid % 256}.${servers}`;
  const asked: Packet[] = [];
  // Who asked takes nothing from there, and the kernel says so.
  const error = () => undefined;
  const elsewhere = await Bun.udpSocket({ hostname: address, socket: { error } });
  const own = await Bun.udpSocket({
    hostname: address,
    port: PORT,
    socket: {
      error,
      data: (socket, data, port, from) => {
        const question = decode(Buffer.from(data));
        asked.push(question);
        for (const { message, fromElsewhere } of behaviour(question)) {
          (fromElsewhere ? elsewhere : socket).send(message, port, from);
        }
      },
    },
  });
  open.push(elsewhere, own);
  return { address, asked };
}

const reply = ({ id, questions }: Packet, more: Partial<Packet>): Uint8Array =>
  encode({ type: "response", id: id ?? 0, questions: questions ?? [], ...more });
const answered = (question: Packet, data: string): Uint8Array =>
  reply(question, { answers: [{ type: "A", name: "a.test", data }] });

const message = encode({
  type: "query",
  id: 7,
  flags: 256,
  questions: [{ name: "a.test", type: "A" }],
});
const query = parseQuery(message) as Query;

async function ask(behaviours: readonly Behaviour[], timeoutMs = 5000) {
  const all = await Promise.all(behaviours.map(serve));
  const answer = await askUpstream({
    query,
    message,
    servers: all.map(({ address }) => address),
    protocol: "udp",
    port: PORT,
    timeoutMs,
  });
  const packet =
    answer === null ? null : (decode(Buffer.from(answer)) as Packet & { rcode?: string });
  return {
    code: packet?.rcode ?? null,
    id: packet?.id ?? null,
    data: (packet?.answers ?? []).map((one) => ("data" in one ? one.data : null)),
    asked: all.map(({ asked }) => asked.length),
    ids: all.flatMap(({ asked }) => asked.map(({ id }) => id)),
  };
}

const right: Behaviour = (question) => [{ message: answered(question, "192.0.2.1") }];
const failing =
  (code: number): Behaviour =>
  (question) => [{ message: reply(question, { flags: code }) }];
const silent: Behaviour = () => [];

test("after a failure, a refusal or silence the next server is asked, and the client's id comes back", async () => {
  expect(await ask([failing(2), right])).toMatchObject({ id: 7, data: ["192.0.2.1"] });
  expect(await ask([failing(5), right])).toMatchObject({ id: 7, data: ["192.0.2.1"] });
  expect(await ask([silent, right], 50)).toMatchObject({ id: 7, data: ["192.0.2.1"] });
  // No name is an answer, and as good as any.
  expect(await ask([failing(3), right])).toMatchObject({ code: "NXDOMAIN", asked: [1, 0] });
  expect(await ask([failing(2), failing(5)])).toMatchObject({ code: "REFUSED", asked: [1, 1] });
  expect(await ask([silent, silent], 20)).toMatchObject({ code: null, asked: [1, 1] });
  expect(await ask([silent, silent, silent, right], 20)).toMatchObject({ asked: [1, 1, 1, 0] });
});

test("an answer counts only from the asked port, with the asked id and question", async () => {
  const forgeries: Behaviour = (question) => [
    { message: answered(question, "203.0.113.9"), fromElsewhere: true },
    { message: answered({ ...question, id: ((question.id ?? 0) + 1) & 0xffff }, "203.0.113.8") },
    {
      message: answered({ ...question, questions: [{ name: "b.test", type: "A" }] }, "203.0.113.7"),
    },
    { message: answered({ ...question, questions: [] }, "203.0.113.6") },
    { message: encode({ ...question, type: "query" }) },
    { message: Uint8Array.of(1, 2, 3) },
    { message: answered(question, "192.0.2.1") },
  ];
  expect((await ask([forgeries])).data).toEqual(["192.0.2.1"]);
});

test("nobody can tell the next question's id from those before", async () => {
  const rounds = await Promise.all(Array.from({ length: 16 }, () => ask([right])));
  const ids = rounds.flatMap((round) => round.ids);
  expect(new Set(ids).size).toBeGreaterThan(8);
  const steps = ids.slice(1).map((id, index) => (id ?? 0) - (ids[index] ?? 0));
  expect(new Set(steps).size).toBeGreaterThan(8);
});

test("what a server answers is handed on as it is, pointers that loop and counts that lie among it", async () => {
  const hostile: Behaviour = (question) => {
    const bytes = Buffer.concat([
      Buffer.from(reply(question, {})),
      // Its name is a pointer to itself.
      Buffer.from([0xc0, 0x18, 0, 1, 0, 1, 0, 0, 0, 1, 0xff, 0xff]),
    ]);
    bytes.writeUInt16BE(0xffff, 6);
    return [{ message: bytes }];
  };
  const server = await serve(hostile);
  const answer = await askUpstream({
    query,
    message,
    servers: [server.address],
    protocol: "udp",
    port: PORT,
  });
  expect(answer?.length).toBe(message.length + 12);
});

test("by TCP an answer in small pieces is one answer, and a connection that ends without one is none", async () => {
  const address = `127.99.${process.pid % 256}.200`;
  let pieces = 1;
  const listener = Bun.listen({
    hostname: address,
    port: PORT,
    socket: {
      data: (socket, data) => {
        const reader = new MessageReader((whole) => {
          const bytes = framed(answered(decode(Buffer.from(whole)), "192.0.2.1"));
          if (pieces === 0) return socket.end();
          for (const byte of bytes) socket.write(Uint8Array.of(byte));
          return undefined;
        });
        reader.push(data);
      },
    },
  });
  open.push({ close: () => listener.stop(true) });
  const request = { query, message, servers: [address], protocol: "tcp", port: PORT } as const;
  const answer = await askUpstream(request);
  expect(decode(Buffer.from(answer ?? [])).answers).toHaveLength(1);
  pieces = 0;
  expect(await askUpstream(request)).toBeNull();
  expect(await askUpstream({ ...request, servers: ["127.99.0.201"] })).toBeNull();
});
