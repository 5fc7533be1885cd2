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
