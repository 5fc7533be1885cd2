/** Control groups, v2, v1 and hybrid: folders with limits, joining by descriptor, freezing, killing, removing. */
export * from "./cgroup.ts";
export * from "./device-program.ts";
export * from "./hierarchy.ts";
export * from "./host.ts";
export * from "./resources.ts";
export * from "./usage.ts";
