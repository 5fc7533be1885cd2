import { expect, test } from "bun:test";

import { parseInterfaces, parseSystemCpu } from "./host-usage.ts";

test("the machine's processor time is what Docker adds up, and its CPUs are counted", () => {
  const text =
    "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 0 1 2 3 4 5 6 7 9 10\nintr 5\n";
  expect(parseSystemCpu(text)).toEqual({ totalNano: 28 * 1e7, onlineCpus: 2 });
});

test("traffic is told by interface, without the loopback", () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:      99       9    0    0    0     0          0         0       99       9    0    0    0     0       0          0
  eth0:    1500      10    1    2    0     0          0         0     3000      20    3    4    0     0       0          0
eth0:1: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0
`;
  expect(parseInterfaces(text)).toEqual({
    eth0: {
      rxBytes: 1500,
      rxPackets: 10,
      rxErrors: 1,
      rxDropped: 2,
      txBytes: 3000,
      txPackets: 20,
      txErrors: 3,
      txDropped: 4,
    },
    "eth0:1": {
      rxBytes: 7,
      rxPackets: 1,
      rxErrors: 0,
      rxDropped: 0,
      txBytes: 8,
      txPackets: 1,
      txErrors: 0,
      txDropped: 0,
    },
  });
});
