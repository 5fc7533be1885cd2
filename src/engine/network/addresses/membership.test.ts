import { expect, test } from "bun:test";

import type { Network } from "../network-service.ts";
import { isContainersAddress } from "./membership.ts";

const networks: Network[] = [
  {
    id: "a",
    name: "bridge",
    driver: "bridge",
    createdAt: new Date(0),
    subnet: "172.18.0.0/16",
    gateway: "172.18.0.1",
    bridge: "naru0",
    mtu: 1500,
    custom: null,
    predefined: {
      pools: [
        {
          family: "ipv6",
          subnet: "fd00:1::/64",
          gateway: "fd00:1::1",
          ipRange: null,
          auxiliary: {},
        },
      ],
      options: {},
      gateways: { ipv4: null, ipv6: null },
    },
  },
  {
    id: "b",
    name: "lan",
    driver: "macvlan",
    createdAt: new Date(0),
    subnet: "192.168.0.0/24",
    gateway: "192.168.0.1",
    bridge: "eth0",
    mtu: 1500,
    custom: null,
  },
];

test.each([
  ["172.18.0.2", true],
  ["::ffff:172.18.255.254", true],
  ["::FFFF:172.18.0.9", true],
  ["fd00:1::5", true],
  ["FD00:1:0:0:0:0:0:5", true],
  ["fe80::1%naru0", true],
  // The host, by its bridges.
  ["172.18.0.1", false],
  ["fd00:1::1", false],
  ["127.0.0.1", false],
  ["::1", false],
  ["172.19.0.2", false],
  ["fd00:2::5", false],
  ["fe80::1%eth0", false],
  ["fe80::1", false],
  // A macvlan's subnet is the neighbourhood's.
  ["192.168.0.7", false],
  ["", false],
  ["nonsense", false],
])("%s is a container's: %p", (address, expected) => {
  expect(isContainersAddress(networks, address)).toBe(expected);
});
