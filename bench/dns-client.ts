/**
 * Questions to the resolver of the network namespace it is started in. Prints one number.
 *   bun bench/dns-client.ts rate|latency NAME
 * rate: answers per second with a window of questions open; latency: microseconds of the median one, one at a time.
 */
import { encode } from "dns-packet";

const SERVER = "127.0.0.11";
const WINDOW = 32;
const COUNT = { rate: 10_000, latency: 1000 } as const;
/** What is lost is asked again: UDP promises nothing. */
const RETRY_MS = 500;
const IDS = 65_536;

const [mode, name] = process.argv.slice(2);
if ((mode !== "rate" && mode !== "latency") || name === undefined)
  throw new Error("rate|latency NAME");
const total = COUNT[mode];
const asked = new Map<number, number>();
const tookUs: number[] = [];
let next = 0;
const done = Promise.withResolvers<void>();
const socket = await Bun.udpSocket({
  connect: { hostname: SERVER, port: 53 },
  socket: {
    data(_, answer) {
      const sent = asked.get(answer.readUInt16BE(0));
      if (sent === undefined || answer.readUInt16BE(6) === 0) return;
      asked.delete(answer.readUInt16BE(0));
      tookUs.push((performance.now() - sent) * 1000);
      if (tookUs.length === total) done.resolve();
      else fill();
    },
  },
});
const ask = (id: number): void => {
  asked.set(id, performance.now());
  socket.send(encode({ type: "query", id, flags: 0x100, questions: [{ type: "A", name }] }));
};
function fill(): void {
  while (asked.size < (mode === "rate" ? WINDOW : 1) && next < total) {
    ask(next % IDS);
    next += 1;
  }
}
const started = performance.now();
const retry = setInterval(() => {
  for (const [id, sent] of asked) if (performance.now() - sent > RETRY_MS) ask(id);
}, RETRY_MS);
fill();
await done.promise;
clearInterval(retry);
socket.close();
const middle = tookUs.toSorted((a, b) => a - b)[total >> 1] ?? Number.NaN;
console.log(mode === "latency" ? middle : (total / (performance.now() - started)) * 1000);
