/** Subnets and addresses with their prefix, of either family. */
import { parseCidr } from "./ip.ts";
import { parseCidr6 } from "./ipv6.ts";

/** @throws EngineError "invalid" */
export function checkCidr(text: string): void {
  if (text.includes(":")) parseCidr6(text);
  else parseCidr(text);
}
