/** Waiting for what comes by itself, some time after an answer: with a limit that no machine reaches by being busy. */

/** Far beyond what a busy machine needs, and below a test's own limit, so that the condition is named. */
const LIMIT_MS = 250_000;
/** Looks are close at first and then further apart: what is asked costs time, which others need on a busy machine. */
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 200;
const GROWTH = 1.3;

function* looks() {
  const end = performance.now() + LIMIT_MS;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * GROWTH, LONGEST_PAUSE_MS)) {
    yield { isLast: performance.now() > end, pause: () => Bun.sleep(pauseMs) };
  }
}

/** Looks until it is so. @throws with the text of the condition when it never comes to be */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const { isLast, pause } of looks()) {
    if (await isSo()) return;
    if (isLast) throw new Error(`it never came to be: ${isSo.toString()}`);
    await pause();
  }
}

/** Checks until a check passes. @throws what the last one threw */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  for (const { isLast, pause } of looks()) {
    try {
      await check();
      return;
    } catch (thrown) {
      if (isLast) throw thrown;
    }
    await pause();
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
