/** HTTP mechanics without any domain: bodies, queries, streams with back-pressure, hijacked connections, WebSocket frames. */
export * from "./hijack.ts";
export * from "./json.ts";
export * from "./query.ts";
export * from "./streams.ts";
export * from "./web-socket.ts";
