/** Host ports for tests that have to name one. */

/** Below where the kernel takes ports for outgoing connections (32768): there, any could be in use for a moment. */
const FIRST = 20_000;
const LAST = 32_000;
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
