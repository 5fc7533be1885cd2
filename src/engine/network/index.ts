export type * from "./endpoint.ts";
export type * from "./network-service.ts";
