/** Dockerfiles: text to instructions, variables to values, and what is worth a warning. Pure. */
export {
  type Environment,
  expandHeredoc,
  expandWord,
  expandWords,
  type Expansion,
} from "./expand.ts";
export { FaultyLine } from "./faulty-line.ts";
export type * from "./instruction.ts";
export { readCheck } from "./lines.ts";
export { type LintFacts, type LintWarning, lintDockerfile } from "./lint.ts";
export { parseDockerfile, parseTrigger } from "./parse.ts";
export { parseMount } from "./mount.ts";
