/** An engine that does nothing: it takes any archive and gives one away. What a command takes here is its client's own time. */
import type { Socket } from "bun";

const STAT = Buffer.from(
  JSON.stringify({
    name: "source",
    size: 4096,
    // Go's os.ModeDir and 0755.
    mode: 0x8000_0000 + 0o755,
    mtime: "2026-01-01T00:00:00Z",
    linkTarget: "",
  }),
).toString("base64");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

interface Connection {
  /** The head of a request so far; null while its body arrives. */
  head: string | null;
  /** What is still to be sent. */
  rest: Uint8Array;
}

const answer = (status: string, headers: readonly string[], length = 0): Buffer =>
  Buffer.from(
    [
      `HTTP/1.1 ${status}`,
      `Content-Length: ${length}`,
      "Api-Version: 1.51",
      ...headers,
      "",
      "",
    ].join("\r\n"),
  );

/** @param archive what every path of a container holds, but `/target`, which is not there */
export function startNullEngine(socket: string, archive: Uint8Array): Disposable {
  const flush = (client: Socket<Connection>): void => {
    const { data } = client;
    while (data.rest.length > 0) {
      const sent = client.write(data.rest);
      if (sent <= 0) return;
      data.rest = data.rest.subarray(sent);
    }
  };
  const send = (client: Socket<Connection>, ...parts: Uint8Array[]): void => {
    client.data.head = "";
    client.data.rest = Buffer.concat(parts);
    flush(client);
  };
  const stat = `X-Docker-Container-Path-Stat: ${STAT}`;
  const listener = Bun.listen<Connection>({
    unix: socket,
    socket: {
      open(client) {
        client.data = { head: "", rest: Buffer.alloc(0) };
      },
      drain: flush,
      data(client, bytes) {
        const { data } = client;
        if (data.head !== null) data.head += bytes.toString("latin1");
        const [line = ""] = data.head?.split("\r\n", 1) ?? [];
        if (data.head === null || line.startsWith("PUT ")) {
          data.head = null;
          if (bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK))
            send(client, answer("200 OK", []));
        } else if (!data.head.includes("\r\n\r\n")) return;
        else if (line.startsWith("GET ") && line.includes("/archive")) {
          const type = "Content-Type: application/x-tar";
          send(client, answer("200 OK", [stat, type], archive.length), archive);
        } else {
          const isMissing = line.includes("target");
          send(client, answer(isMissing ? "404 Not Found" : "200 OK", [stat]));
        }
      },
    },
  });
  return { [Symbol.dispose]: () => listener.stop(true) };
}
