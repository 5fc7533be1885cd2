/** Waiting for what comes by itself, some time after an answer: with a limit that no machine reaches by being busy. */

/** Far beyond what a busy machine needs, and below a test's own limit, so that the condition is named. */
const LIMIT_MS = 100_000;
const LOOK_MS = 20;

/** Looks until it is so. @throws with the text of the condition when it never comes to be */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`it never came to be: ${isSo.toString()}`);
    await Bun.sleep(LOOK_MS);
  }
}

/** Checks until a check passes. @throws what the last one threw */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    try {
      await check();
      return;
    } catch (thrown) {
      if (performance.now() > end) throw thrown;
      await Bun.sleep(LOOK_MS);
    }
  }
}

/** What a server says as soon as it serves: until then, connections are refused or cut. */
export async function textAt(url: string): Promise<string> {
  let text = "";
  await eventually(async () => {
    text = await (await fetch(url)).text();
  });
  return text;
}
