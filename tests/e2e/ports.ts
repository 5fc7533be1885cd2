/** Host ports for tests that have to name one. */

/** Below where the kernel takes ports for outgoing connections (32768): there, any could be in use for a moment. */
const LOWEST = 20_000;
/** Tests that run at the same time have each their own: script/test says which lane this is. */
const OF_A_LANE = 2400;
const FIRST = LOWEST + (Number(process.env["NARU_TEST_LANE"] ?? 0) % 5) * OF_A_LANE;
const LAST = FIRST + OF_A_LANE;
const TRIES = 1000;

const taken = new Set<number>();

const isFree = (port: number): boolean => {
  if (taken.has(port)) return false;
  try {
    Bun.listen({ hostname: "::", port, socket: { data() {} } }).stop(true);
    Bun.listen({ hostname: "0.0.0.0", port, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
};

/** The first of `count` neighbours that nobody listens on, and that no other test of this process was given. */
export function freePorts(count = 1): number {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const first = FIRST + Math.floor(Math.random() * (LAST - FIRST - count));
    const ports = Array.from({ length: count }, (_, index) => first + index);
    if (!ports.every(isFree)) continue;
    for (const port of ports) taken.add(port);
    return first;
  }
  throw new Error("no port is free");
}
