/** Go's text/template with docker's functions: for `--format` of the CLI and the `tag` of log drivers. */
export * from "./execute.ts";
