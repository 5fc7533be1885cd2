/** What running containers use: one sampler, shared by everyone who watches. */
export * from "./sampler.ts";
