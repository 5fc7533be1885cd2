/** Dockerfiles: text to instructions, variables to values, and what is worth a warning. Pure. */
export {
  type Environment,
  expandHeredoc,
  expandWord,
  expandWords,
  type Expansion,
} from "./expand.ts";
export { FaultyLine } from "./faulty-line.ts";
export { checkFrontend, isDockerfileFrontend } from "./frontend.ts";
export type * from "./instruction.ts";
export { readCheck } from "./lines.ts";
export { type ImageFacts, type LintFacts, lintDockerfile } from "./lint.ts";
export { parseDockerfile, parseTrigger } from "./parse.ts";
export { fromOf, parseMount } from "./mount.ts";
export { suggestion } from "./suggest.ts";
