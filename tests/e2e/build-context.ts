/** Build contexts of an engine's tests: in its own folder, so that they go with it, after a crash too. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import type { Engine } from "./engine.ts";

/** Writes files by their path in the context. @returns the folder */
export function writeContext(engine: Engine, files: Record<string, string | Uint8Array>): string {
  const folder = mkdtempSync(join(engine.root, "context-"));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, dirname(name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}
