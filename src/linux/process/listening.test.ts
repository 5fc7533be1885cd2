import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";

import { allocate, attempt } from "#linux/ffi";

import { widenBacklogs } from "./index.ts";

const AF_UNIX = 1;
const SOCK_STREAM_NONBLOCK = 1 | 0o4000;
/** Far more than the runtime's own backlog. */
const CLIENTS = 1500;

test("1,500 clients connect while the process that listens does something else", () => {
  const folder = mkdtempSync("/tmp/naru-test-backlog-");
  const unix = `${folder}/listen.sock`;
  const open: number[] = [];
  try {
    using server = Bun.listen({ unix, socket: { data: () => undefined } });
    expect(server).toBeDefined();
    widenBacklogs();
    const path = Buffer.from(unix);
    const address = allocate(2 + path.length + 1);
    new DataView(address.buffer).setUint16(0, AF_UNIX, true);
    address.set(path, 2);
    // Nobody accepts meanwhile: this is one turn of the loop.
    const results = Array.from({ length: CLIENTS }, () => {
      const fd = attempt("socket", AF_UNIX, SOCK_STREAM_NONBLOCK, 0);
      open.push(fd);
      return attempt("connect", fd, address, address.length);
    });
    expect(results.filter((result) => result !== 0)).toEqual([]);
  } finally {
    for (const fd of open) attempt("close", fd);
    rmSync(folder, { recursive: true, force: true });
  }
});
