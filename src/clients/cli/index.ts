/** The `naru` command line: a client of the Docker Engine API. */
export { main } from "./main.ts";
