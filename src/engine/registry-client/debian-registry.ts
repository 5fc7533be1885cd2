/** Debian's own docker-registry on loopback, for tests: optionally with a password. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface DebianRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
}

export async function startDebianRegistry(user?: {
  username: string;
  password: string;
}): Promise<DebianRegistry> {
  const folder = mkdtempSync("/tmp/naru-test-registry-");
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const host = `127.0.0.1:${probe.port}`;
  probe.stop(true);
  let guard = "";
  if (user) {
    const hash = await Bun.password.hash(user.password, { algorithm: "bcrypt", cost: 4 });
    writeFileSync(join(folder, "htpasswd"), `${user.username}:${hash}\n`);
    guard = `auth:\n  htpasswd:\n    realm: naru\n    path: ${folder}/htpasswd\n`;
  }
  mkdirSync(join(folder, "data"));
  writeFileSync(
    join(folder, "config.yml"),
    `version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: ${folder}/data\nhttp:\n  addr: ${host}\n${guard}`,
  );
  const child = Bun.spawn(["docker-registry", "serve", join(folder, "config.yml")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  await answering(host, child);
  return {
    host,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The registry tells nobody that it listens: it is asked until it answers. */
async function answering(host: string, child: Bun.Subprocess): Promise<void> {
  while (child.exitCode === null) {
    const answer = await fetch(`http://${host}/v2/`).catch(() => null);
    if (answer) return;
    await Bun.sleep(10);
  }
  throw new Error("docker-registry did not come up");
}
