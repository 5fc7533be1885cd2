/** Log drivers: their options in Docker's words, and the delivery of what containers print to log servers. */
export { checkLogOptions } from "./options.ts";
export * from "./target.ts";
