/** Runs command lines through the docker and the naru CLI, and makes their outputs comparable. */
import type { Engine, Finished } from "./engine.ts";

/** What the lines of the table are about. */
export async function prepare(engine: Engine, port: number): Promise<void> {
  await engine.ok(["volume", "create", "--label", "kept=yes", "data"]);
  await engine.ok(["network", "create", "--label", "side=out", "front"]);
  await engine.ok([
    ...`run -d --name web --label tier=front -p ${port}:80 -v data:/data`.split(" "),
    ..."--stop-signal KILL busybox sleep 10000".split(" "),
  ]);
  const script = "echo out; echo err >&2; touch /made; exit 3";
  await engine.docker(["run", "--name", "done", "busybox", "sh", "-c", script]);
  await engine.ok(["commit", "--change", "LABEL tier=demo", "done", "demo:1"]);
  await engine.ok(["create", "--name", "never", "--network", "front", "busybox", "true"]);
}

/** The words of a line; a single-quoted part is one, and `'\''` a quote in it. */
export const wordsOf = (line: string): string[] =>
  [...line.matchAll(/(?:'[^']*'|\\'|[^\s'])+/g)].map(([word]) =>
    word.replaceAll(
      /'([^']*)'|\\(')/g,
      (_, quoted?: string, bare?: string) => quoted ?? bare ?? "",
    ),
  );

/** The steps of a line, each as words. */
export const stepsOf = (line: string): string[][] => line.split(" ; ").map(wordsOf);

/**
 * What a step printed, without what no two runs have in common: times, the ids of what a line makes, the name of the
 * program. Left out, too: docker 28.2's slips ("SRun", a bare exit status) and naru's "Did you mean this?".
 */
export const comparable = ({ code, stdout, stderr }: Finished, makes = false) => ({
  code,
  stdout: plain(stdout, makes),
  stderr: plain(stderr, makes),
});

function plain(text: string, makes = false): string {
  return (
    Bun.stripANSI(makes ? text.replaceAll(/\b[0-9a-f]{64}\b/g, "ID") : text)
      .replaceAll(/endpoint \w+ \([0-9a-f]{64}\)/g, "endpoint NAME (ID)")
      .replaceAll(/\b[Dd]ocker\b(?! Hub|\.io|\.com|\.sock|\/)/g, "naru")
      .replaceAll("Naru", "naru")
      .replaceAll(/\d+ (second|minute)s?( ago)?/g, "N")
      .replaceAll(/(Less than|About) a \w+( ago)?/g, "N")
      .replaceAll("\nSRun '", "\nRun '")
      .replaceAll(/\n+exit status 1$/gm, "")
      .replaceAll(/\n\nDid you mean this\?\n(?:\t.*\n?)+/g, "\n")
      // A column is as wide as its longest time.
      .replaceAll(/ +/g, " ")
      .replaceAll(/\n{3,}/g, "\n\n")
      .trimEnd()
  );
}

/** A help text as its usage line, its description and one entry for each flag; how it is wrapped does not matter. */
export function flagSentences(help: string): string[] {
  const [head = "", options = ""] = help.split(/\n(?:Global )?Options:\n/);
  const flags = options
    .split(/\n(?=\s{2,6}-)/)
    .map((flag) => plain(flag.replaceAll(/\s+/g, " ").trim()));
  return [...head.split("\n\n"), ...flags]
    .map((part) => plain(part.replaceAll(/\s+/g, " ").trim()))
    .filter((part) => part !== "");
}
