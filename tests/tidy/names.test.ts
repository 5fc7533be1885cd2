import { expect, test } from "bun:test";
import { basename } from "node:path";

const files = ["src/**/*.ts", "tests/**/*.ts", "bench/**/*.ts", "tools/**/*.ts"].flatMap((glob) => [
  ...new Bun.Glob(glob).scanSync("."),
]);
const sources = files.filter((file) => !file.includes("/generated/"));

test("no file or folder hides behind a word that names nothing", () => {
  const empty = /(^|[/.-])(utils?|helpers?|common|misc|manager)([/.-]|$)/;
  expect(files.filter((file) => empty.test(file))).toEqual([]);
});

test("a unit test stands beside the file it is about", async () => {
  const lonely: string[] = [];
  for (const file of files.filter((name) => name.startsWith("src/") && name.endsWith(".test.ts"))) {
    const folder = file.slice(0, -basename(file).length);
    const subject = basename(file).split(".")[0] ?? "";
    const beside = [...new Bun.Glob(`${subject}*`).scanSync({ cwd: folder, onlyFiles: false })];
    if (!beside.some((name) => !name.includes(".test."))) {
      const door = await Bun.file(`${folder}index.ts`).exists();
      // Or it is about the whole folder, and carries its name.
      if (!door && basename(folder) !== subject) lonely.push(file);
    }
  }
  expect(lonely).toEqual([]);
});

test("every source file begins by saying what it is for", async () => {
  const silent: string[] = [];
  for (const file of sources.filter(
    (name) => name.startsWith("src/") && !name.includes(".test."),
  )) {
    const text = await Bun.file(file).text();
    if (!text.startsWith("/**") && !text.startsWith("// Generated")) silent.push(file);
  }
  expect(silent).toEqual([]);
});

test("a TODO names its issue", async () => {
  const nameless: string[] = [];
  for (const file of sources) {
    const text = await Bun.file(file).text();
    for (const line of text.split("\n")) {
      if (
        /\b(TODO|FIXME|XXX)\b/.test(line) &&
        !/#\d+/.test(line) &&
        !file.startsWith("tests/tidy/")
      ) {
        nameless.push(`${file}: ${line.trim()}`);
      }
    }
  }
  expect(nameless).toEqual([]);
});

test("setns and unshare have one home, and nobody changes the whole process's root, folder or mask", async () => {
  const strays: string[] = [];
  for (const file of sources.filter(
    (name) => name.startsWith("src/") && !name.includes(".test."),
  )) {
    const text = await Bun.file(file).text();
    if (
      /(checked|attempt)\(\s*"(setns|unshare)"/.test(text) &&
      !file.startsWith("src/linux/namespace/")
    ) {
      strays.push(`${file}: setns or unshare`);
    }
    if (/(checked|attempt)\(\s*"(chroot|chdir|umask)"|process\.(chdir|umask)\(/.test(text)) {
      strays.push(`${file}: chroot, chdir or umask`);
    }
  }
  expect(strays).toEqual([]);
});
