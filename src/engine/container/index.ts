export type * from "./config.ts";
export type * from "./container-service.ts";
