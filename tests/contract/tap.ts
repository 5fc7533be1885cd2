/**
 * A Unix socket between a real client and the daemon that passes every byte on unchanged, hijacked streams and
 * half-closes included, and meanwhile holds every JSON answer against the API's definition.
 */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";

import { violationsOf } from "./contract.ts";
import { type Framing, type Head, HttpParser } from "./http-parser.ts";

/** A larger answer is passed on all the same, and not judged. */
const BODY_LIMIT_BYTES = 32 * 1024 * 1024;

export interface Tap {
  /** What broke the definition so far, one sentence each. */
  violations(): string[];
  /** How many JSON documents were judged. */
  readonly answers: number;
  close(): Promise<void>;
}

export async function startTap(sockets: { listen: string; upstream: string }): Promise<Tap> {
  const violations: string[] = [];
  const open = new Set<Socket>();
  let answers = 0;
  const judge = (request: Request, status: number, text: string) => {
    for (const document of documents(text)) {
      answers += 1;
      violations.push(...judgeDocument(request, status, document));
    }
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const daemon = connect({ path: sockets.upstream, allowHalfOpen: true });
    for (const [one, other] of [
      [client, daemon],
      [daemon, client],
    ] as const) {
      open.add(one);
      one.on("error", () => other.destroy());
      one.once("close", () => {
        open.delete(one);
        other.destroySoon();
      });
      one.pipe(other);
    }
    listenIn(client, daemon, judge);
  });
  server.listen(sockets.listen);
  await once(server, "listening");
  return {
    violations: () => [...violations],
    get answers() {
      return answers;
    },
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      rmSync(sockets.listen, { force: true });
    },
  };
}

interface Request {
  readonly method: string;
  readonly path: string;
}

function judgeDocument(request: Request, status: number, text: string): string[] {
  try {
    return violationsOf({ ...request, status, body: JSON.parse(text) as unknown });
  } catch {
    return [`${request.method} ${request.path} ${status}: no JSON: ${text.slice(0, 200)}`];
  }
}

/** One document, or a line each. */
function documents(text: string): string[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const isLines =
    lines.length > 1 && lines.every((line) => line.startsWith("{") && line.endsWith("}"));
  return isLines ? lines : lines.length === 0 ? [] : [text];
}

/** Pairs the answers of one connection with its requests. */
function listenIn(
  client: Socket,
  daemon: Socket,
  judge: (request: Request, status: number, text: string) => void,
): void {
  const asked: Request[] = [];
  let status = 0;
  let body: Buffer[] | null = null;
  let size = 0;
  const requests = new HttpParser({
    head(head) {
      const [method = "", path = ""] = head.start.split(" ");
      asked.push({ method, path });
      return framingOf(head, "none");
    },
    body: () => {},
    end: () => {},
  });
  const answers = new HttpParser({
    head(head) {
      status = Number(head.start.split(" ")[1]);
      if (status === 101) return "stop";
      body = head.headers.get("content-type")?.startsWith("application/json") === true ? [] : null;
      size = 0;
      const empty = status < 200 || status === 204 || status === 304 || asked[0]?.method === "HEAD";
      return empty ? "none" : framingOf(head, "close");
    },
    body(bytes) {
      size += bytes.length;
      if (size > BODY_LIMIT_BYTES) body = null;
      body?.push(Buffer.from(bytes));
    },
    end() {
      if (status < 200) return; // 100 Continue: the answer itself follows.
      const request = asked.shift();
      const text = body === null ? "" : Buffer.concat(body).toString();
      if (request !== undefined && text !== "") judge(request, status, text);
    },
  });
  client.on("data", (chunk: Buffer) => {
    // After a hijack these are no requests any more.
    if (!answers.stopped && !requests.stopped) requests.push(chunk);
  });
  daemon.on("data", (chunk: Buffer) => answers.push(chunk));
  daemon.once("end", () => answers.close());
}

function framingOf({ headers }: Head, otherwise: Framing): Framing {
  if (headers.get("transfer-encoding")?.toLowerCase().includes("chunked") === true)
    return "chunked";
  const length = headers.get("content-length");
  return length === undefined ? otherwise : Number(length);
}
