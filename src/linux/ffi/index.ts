/** Raw system calls: numbers, errors, memory. The other `linux` rooms give them types and lifetimes. */
export * from "./errno.ts";
export * from "./memory.ts";
export * from "./numbers.ts";
export * from "./syscall.ts";
