/** Debian's own docker-registry on loopback, for tests: optionally with a password. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { freePorts } from "./ports.ts";
import { eventually } from "./until.ts";

export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
}

export async function startRegistry(
  root: string,
  options: { readonly htpasswd?: string } = {},
): Promise<Registry> {
  const folder = join(root, `registry-${crypto.randomUUID().slice(0, 8)}`);
  mkdirSync(folder, { recursive: true });
  const host = `127.0.0.1:${freePorts()}`;
  const auth =
    options.htpasswd === undefined
      ? ""
      : `auth:\n  htpasswd:\n    realm: naru\n    path: ${folder}/htpasswd\n`;
  if (options.htpasswd !== undefined) writeFileSync(join(folder, "htpasswd"), options.htpasswd);
  writeFileSync(
    join(folder, "config.yml"),
    `version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: ${folder}/data\n  delete:\n    enabled: true\nhttp:\n  addr: ${host}\n${auth}`,
  );
  const child = Bun.spawn(["docker-registry", "serve", join(folder, "config.yml")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  await eventually(async () => {
    await fetch(`http://${host}/v2/`);
  });
  return {
    host,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
