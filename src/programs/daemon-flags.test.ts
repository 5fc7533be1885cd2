/**
 * Every key that dockerd 28.5 takes in its configuration file (daemon/config of moby v28.5.2), with a value that is
 * not its default: here it changes something, or it is refused with the reason. Nothing is taken and passed over.
 * What containers and hosts show of those that act is in tests/e2e (daemon*.test.ts and the files of each subject).
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type DaemonOptions, readInvocation } from "./daemon-options.ts";

const folder = mkdtempSync("/tmp/naru-test-daemon-keys-");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const profile = join(folder, "profile.json");
writeFileSync(profile, "{}");

/** More that a key needs to mean anything. */
const BESIDE: Readonly<Record<string, Record<string, unknown>>> = {
  bip6: { ipv6: true },
  "fixed-cidr-v6": { ipv6: true },
  "default-gateway-v6": { ipv6: true },
  "default-runtime": { runtimes: { other: { path: "/bin/other" } } },
  tlscacert: { tlsverify: true },
  tlscert: { tlsverify: true },
  tlskey: { tlsverify: true },
};

const ACTS: Readonly<Record<string, unknown>> = {
  "allow-direct-routing": true,
  "authorization-plugins": ["x"],
  bip: "10.9.0.1/24",
  bip6: "fd00::1/64",
  bridge: "other0",
  builder: { gc: { enabled: false } },
  "cdi-spec-dirs": ["/etc/other"],
  "cgroup-parent": "/other",
  "cpu-rt-period": 100_000,
  "cpu-rt-runtime": 1000,
  "data-root": "/tmp/other",
  debug: true,
  "default-address-pools": [{ base: "10.9.0.0/16", size: 24 }],
  "default-cgroupns-mode": "private",
  "default-gateway": "10.9.0.9",
  "default-gateway-v6": "fd00::9",
  // Neither of the inits that a machine may have.
  "default-init": "busybox",
  "default-ipc-mode": "shareable",
  "default-network-opts": { bridge: { "com.docker.network.driver.mtu": "1400" } },
  "default-runtime": "other",
  "default-shm-size": "1M",
  "default-ulimits": { nofile: { Name: "nofile", Soft: 1, Hard: 2 } },
  dns: ["192.0.2.1"],
  "dns-opts": ["ndots:1"],
  "dns-search": ["example.test"],
  "exec-root": "/run/other",
  experimental: true,
  features: { cdi: true },
  "fixed-cidr": "10.9.0.0/25",
  "fixed-cidr-v6": "fd00::/64",
  group: "daemon",
  "host-gateway-ip": "10.9.0.1",
  "host-gateway-ips": ["10.9.0.1"],
  hosts: ["unix:///tmp/other.sock"],
  "http-proxy": "http://proxy.test",
  "https-proxy": "http://proxy.test",
  icc: false,
  init: true,
  "init-path": "/bin/sh",
  "insecure-registries": ["registry.test"],
  ip: "127.0.0.2",
  "ip-forward": false,
  "ip-forward-no-drop": true,
  "ip-masq": false,
  ip6tables: false,
  iptables: false,
  ipv6: true,
  labels: ["a=b"],
  "live-restore": false,
  "log-driver": "local",
  "log-format": "json",
  "log-level": "warn",
  "log-opts": { "max-size": "1m" },
  "max-concurrent-downloads": 7,
  "max-concurrent-uploads": 7,
  "max-download-attempts": 7,
  "metrics-addr": "127.0.0.1:9323",
  mtu: 1400,
  "no-new-privileges": true,
  "no-proxy": "example.test",
  pidfile: "/tmp/other.pid",
  proxies: { "http-proxy": "http://proxy.test" },
  "raw-logs": true,
  "registry-mirrors": ["https://mirror.test"],
  "resolv-conf": "/etc/other.conf",
  runtimes: { other: { path: "/bin/other" } },
  "seccomp-profile": profile,
  "shutdown-timeout": 7,
  "storage-opts": ["overlay2.size=1G"],
  tls: true,
  tlscacert: "/tmp/ca.pem",
  tlscert: "/tmp/cert.pem",
  tlskey: "/tmp/key.pem",
  tlsverify: true,
  "userland-proxy": false,
};

const REFUSED: Readonly<Record<string, { readonly value: unknown; readonly why: string }>> = {
  "api-cors-header": { value: "*", why: "web pages may not use the API" },
  containerd: { value: "/run/x.sock", why: "there is no containerd" },
  "containerd-namespace": { value: "x", why: "there is no containerd" },
  "containerd-plugin-namespace": { value: "x", why: "there is no containerd" },
  "cri-containerd": { value: true, why: "there is no containerd" },
  "exec-opts": { value: ["native.cgroupdriver=systemd"], why: "is not supported" },
  "network-control-plane-mtu": { value: 1400, why: "there is no swarm" },
  "network-diagnostic-port": { value: 9999, why: "there is no swarm" },
  "node-generic-resources": { value: ["a=1"], why: "there is no swarm" },
  rootless: { value: true, why: "this engine needs root" },
  "selinux-enabled": { value: true, why: "SELinux labels are not supported" },
  "storage-driver": { value: "zfs", why: "driver not supported: zfs" },
  "swarm-default-advertise-addr": { value: "eth0", why: "there is no swarm" },
  "swarm-raft-election-tick": { value: 9, why: "there is no swarm" },
  "swarm-raft-heartbeat-tick": { value: 9, why: "there is no swarm" },
  "userland-proxy-path": { value: "/bin/proxy", why: "the relay is part of the engine" },
  "userns-remap": { value: "naru-nobody", why: "naru-nobody" },
};

function optionsOf(document: Record<string, unknown>): DaemonOptions {
  const path = join(folder, "daemon.json");
  writeFileSync(path, JSON.stringify(document));
  const invocation = readInvocation(["--config-file", path]);
  if (invocation.action !== "run") throw new Error(invocation.action);
  return invocation.options;
}

/** All that an engine knows of its configuration but which words said it. */
const meaning = (options: DaemonOptions) => ({ ...options, said: null });

describe("a key of dockerd's", () => {
  test.each(Object.entries(ACTS))("%s changes what the engine does", (key, value) => {
    const beside = BESIDE[key] ?? {};
    const changed = meaning(optionsOf({ ...beside, [key]: value }));
    expect(changed).not.toEqual(meaning(optionsOf(beside)));
  });

  test.each(Object.entries(REFUSED))("%s is refused, and it is said why", (key, { value, why }) => {
    expect(() => optionsOf({ [key]: value })).toThrow(why);
  });

  test("that is no key of dockerd's is refused by name", () => {
    expect(() => optionsOf({ "live-restor": true })).toThrow(
      "the following directives don't match any configuration option: live-restor",
    );
  });
});
