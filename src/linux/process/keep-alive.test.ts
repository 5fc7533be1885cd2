import { expect, test } from "bun:test";

import { keepListenersAlive } from "./keep-alive.ts";

test("what a listening socket is told, every connection it accepts has", async () => {
  if (Bun.which("ss") === null) return;
  using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("x") });
  const { port = 0 } = server;
  expect(keepListenersAlive(port)).toBe(1);
  expect(keepListenersAlive(1)).toBe(0);
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: { data: () => undefined },
  });
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const connections = Bun.spawnSync(["ss", "-tno", "state", "established", `( sport = :${port} )`]);
  expect(connections.stdout.toString()).toContain("timer:(keepalive,");
  socket.end();
});
