import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { relayAgent } from "./agent-relay.ts";

const folder = mkdtempSync("/tmp/naru-test-relay-");
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("a step's socket has its owner and mode, reaches the agent, and ends", async () => {
  const agent = join(folder, "agent");
  using upstream = Bun.listen({
    unix: agent,
    socket: { data: (socket, bytes) => void socket.write(`heard ${bytes.toString()}`) },
  });
  void upstream;
  const path = join(folder, "step");
  const end = await relayAgent({ path, agent, uid: 7, gid: 8, mode: 0o620 });
  const { uid, gid, mode } = statSync(path);
  expect([uid, gid, mode & 0o777]).toEqual([7, 8, 0o620]);
  const heard = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<void>();
  const step = await Bun.connect({
    unix: path,
    socket: {
      data: (_, bytes) => heard.resolve(bytes.toString()),
      close: () => closed.resolve(),
    },
  });
  step.write("question");
  expect(await heard.promise).toBe("heard question");
  end();
  await closed.promise;
  expect(existsSync(path)).toBe(false);
});
