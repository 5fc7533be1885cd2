/** `naru system dial-stdio`: the far end of `ssh://`. Standard streams and a connection to the daemon, joined. */
import { openWire } from "#clients/api-client";

import { STDOUT, writeAll } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

export const dialStdio: Command = {
  flags: [],
  async run({ session }) {
    const { endpoint } = await session.client();
    const wire = await openWire(endpoint);
    const send = async (): Promise<void> => {
      for await (const chunk of Bun.stdin.stream()) await wire.write(chunk);
      // The other side may still have much to say.
      wire.finish();
    };
    const sending = send().catch(() => wire.close());
    for (let chunk = await wire.read(); chunk !== undefined; chunk = await wire.read()) {
      writeAll(STDOUT, chunk);
    }
    wire.close();
    void sending;
    return 0;
  },
};
