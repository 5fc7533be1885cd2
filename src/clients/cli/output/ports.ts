/** Ports in a line, as `ps` shows them: neighbours together, `0.0.0.0:8080-8081->8080-8081/tcp`. */
import type { Port } from "#wire/docker";

export function displayPorts(ports: readonly Port[]): string {
  const groups = new Map<string, { first: number; last: number }>();
  const result: string[] = [];
  const moved: string[] = [];
  for (const port of ports.toSorted(comparePorts)) {
    const { PrivatePort: current, PublicPort: published = 0, IP: ip = "", Type: type } = port;
    if (ip !== "" && published !== current) {
      moved.push(`${address(ip, String(published))}->${current}/${type}`);
      continue;
    }
    const key = ip === "" ? type : `${ip}/${type}`;
    const group = groups.get(key);
    if (group !== undefined && current === group.last + 1) {
      group.last = current;
      continue;
    }
    if (group !== undefined) result.push(groupText(key, group));
    groups.set(key, { first: current, last: current });
  }
  for (const [key, group] of groups) result.push(groupText(key, group));
  return [...result, ...moved].join(", ");
}

function groupText(key: string, { first, last }: { first: number; last: number }): string {
  const [ip, type] = key.includes("/") ? key.split("/") : [undefined, key];
  const range = first === last ? String(first) : `${first}-${last}`;
  return ip === undefined ? `${range}/${type}` : `${address(ip, range)}->${range}/${type}`;
}

const address = (ip: string, port: string): string =>
  ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;

function comparePorts(a: Port, b: Port): number {
  const order = (left: string, right: string) => (left === right ? 0 : left < right ? -1 : 1);
  return (
    a.PrivatePort - b.PrivatePort ||
    order(a.IP ?? "", b.IP ?? "") ||
    (a.PublicPort ?? 0) - (b.PublicPort ?? 0) ||
    order(a.Type, b.Type)
  );
}
