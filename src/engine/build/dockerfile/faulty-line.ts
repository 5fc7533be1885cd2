/** What is wrong with the text, and where. */
import { EngineError } from "#base";

import type { Location } from "./instruction.ts";

/** Of kind "invalid". */
export class FaultyLine extends EngineError {
  readonly location: Location;

  constructor(location: Location, message: string) {
    super("invalid", message);
    this.location = location;
  }
}

/** An error of the instruction itself, as BuildKit says it: one of its line's form comes without these words. */
export const parseError = (location: Location, why: string): FaultyLine =>
  new FaultyLine(location, `dockerfile parse error on line ${location.startLine}: ${why}`);
