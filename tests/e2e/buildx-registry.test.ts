/** Builds of an older buildx and compose, with a registry that wants a password, known to the client only. */
import { expect, test } from "bun:test";

import { buildx, buildxLab, built } from "./buildx.ts";

const hash = Bun.password.hashSync("secret", { algorithm: "bcrypt", cost: 4 });
const lab = buildxLab({ htpasswd: `user:${hash.replace("$2b$", "$2y$")}` }, { age: "older" });
const { contextOf } = lab;

test("an image is pushed, and a private one is built on, with the client's password", async () => {
  const base = `${lab.registry.host}/base:1`;
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN echo base > /base\n" });
  const args = ["-t", base, "--output=type=image,push=true", context];
  expect((await buildx(lab.engine, args)).code).toBe(1);
  await lab.engine.ok(["login", "-u", "user", "--password-stdin", lab.registry.host], {
    stdin: "secret",
  });
  expect(await built(lab.engine, args)).toContain(`pushing ${base} with docker`);
  await lab.engine.ok(["rmi", base]);
  const upper = contextOf({ Dockerfile: `FROM ${base}\nRUN cat /base > /upper\n` });
  expect(await built(lab.engine, ["-t", "upper", upper])).toContain(`[1/2] FROM ${base}`);
  expect(await lab.engine.ok(["run", "--rm", "--network", "none", "upper", "cat", "/upper"])).toBe(
    "base",
  );
  await lab.engine.ok(["logout", lab.registry.host]);
  await lab.engine.ok(["rmi", "upper", base]);
  const refused = await buildx(lab.engine, ["--no-cache", upper]);
  expect(refused.stderr).toContain("   1 | >>> FROM ");
  expect(refused.code).toBe(1);
});

test("compose builds its services, and runs them", async () => {
  const context = contextOf({
    "compose.yaml": [
      "name: built",
      "services:",
      "  web:",
      "    build: { context: ., target: web, args: { WHO: compose } }",
      "    image: built-web",
      "    network_mode: none",
      "  other:",
      "    build:",
      "      context: .",
      "      dockerfile_inline: |",
      "        FROM busybox",
      "        COPY said /said",
      "        CMD cat /said",
      "    network_mode: none",
    ].join("\n"),
    Dockerfile: [
      "# syntax=docker/dockerfile:1",
      "FROM busybox AS one",
      "ARG WHO",
      "RUN echo made by $WHO > /who",
      "FROM one AS web",
      "CMD cat /who",
      "FROM one AS bad",
      "RUN exit 1",
    ].join("\n"),
    said: "said\n",
  });
  const compose = ["compose", "--progress", "plain", "--project-directory", context];
  const made = await lab.engine.docker([...compose, "build"]);
  expect(made.stdout + made.stderr).toContain("[web one 2/2] RUN echo made by $WHO > /who");
  expect(made.code).toBe(0);
  const run = await lab.engine.docker([...compose, "up", "--no-log-prefix"]);
  expect(run.stdout).toContain("made by compose");
  expect(run.stdout).toContain("said");
  await lab.engine.ok([...compose, "down"]);
});
