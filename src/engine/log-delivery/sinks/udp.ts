/** Datagrams to a log server by UDP: sent and forgotten, as the protocol is. */
import { lookup } from "node:dns/promises";

import { sentenceOf } from "#base";

export interface UdpSender {
  /** Resolves when the kernel has it. What is lost on the way is not known here. */
  send(bytes: Uint8Array): Promise<void>;
  close(): void;
}

/** @throws Error `dial udp: lookup logs.example: no such host` */
export async function openUdp({ host, port }: { host: string; port: number }): Promise<UdpSender> {
  let wake: (() => void) | null = null;
  const { address } = await lookup(host).catch((cause: unknown) => {
    throw new Error(`dial udp: lookup ${host}: no such host`, { cause });
  });
  const socket = await Bun.udpSocket({
    connect: { hostname: address, port },
    // Nobody listens (yet): told by ICMP, and no concern of a protocol without answers.
    socket: { drain: () => wake?.(), error: () => undefined },
  }).catch((cause: unknown) => {
    throw new Error(`dial udp ${address}:${port}: ${sentenceOf(cause)}`, { cause });
  });
  return {
    send: async (bytes) => {
      for (let tries = 0; tries < 2; tries += 1) {
        try {
          if (socket.send(bytes)) return;
        } catch (cause) {
          // The refusal of an earlier one is told to the next: that one is sent again.
          if ((cause as NodeJS.ErrnoException).code !== "ECONNREFUSED") throw cause;
          continue;
        }
        await Promise.race([new Promise<void>((resolve) => (wake = resolve)), Bun.sleep(100)]);
      }
    },
    close: () => socket.close(),
  };
}
