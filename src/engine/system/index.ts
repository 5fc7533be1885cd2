export type * from "./system-service.ts";
