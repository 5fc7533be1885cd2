/** Git repositories as sources of files: what their URLs mean, and a checkout by the `git` program. */
export { checkOut, type GitAccess, type GitCommit, resolveCommit } from "./checkout.ts";
export { type GitSource, parseGitUrl } from "./url.ts";
