import { expect, test } from "bun:test";

import { displayPorts } from "./ports.ts";

test("ports next to each other are one range, moved ones stand alone", () => {
  const port = (PrivatePort: number, PublicPort?: number, IP = "0.0.0.0") => ({
    PrivatePort,
    Type: "tcp" as const,
    ...(PublicPort === undefined ? {} : { PublicPort, IP }),
  });
  expect(displayPorts([port(81, 81), port(80, 80), port(90, 8090), port(443)])).toBe(
    "0.0.0.0:80-81->80-81/tcp, 443/tcp, 0.0.0.0:8090->90/tcp",
  );
  expect(displayPorts([port(80, 80, "::")])).toBe("[::]:80->80/tcp");
});
