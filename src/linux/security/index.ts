/** What the kernel lets a process do: capabilities, seccomp filters, security modules. */
export * from "./capabilities.ts";
export * from "./modules.ts";
export * from "./seccomp.ts";
export { ensureProfile } from "./apparmor.ts";
