/**
 * `naru daemon`'s flags and the keys of its configuration file: dockerd's, as far as they mean something here. One
 * table says of each how it is written, where it goes and what the help says; what is not in it is refused.
 */
export type FlagKind = "text" | "number" | "flag" | "list" | "map";

export interface Flag {
  readonly name: string;
  readonly short?: string;
  readonly kind: FlagKind;
  /** The key in the configuration file; null: only a flag. */
  readonly key: string | null;
  readonly help: string;
}

const flag = (
  name: string,
  kind: FlagKind,
  help: string,
  more: { short?: string; key?: string | null } = {},
): Flag => ({
  name,
  kind,
  help,
  key: more.key === undefined ? name : more.key,
  ...(more.short === undefined ? {} : { short: more.short }),
});

/** In the order of the help. */
export const flags: readonly Flag[] = [
  flag("add-runtime", "list", "Register an OCI runtime: name=path", { key: null }),
  flag(
    "allow-direct-routing",
    "flag",
    "Other machines may reach published ports by containers' own addresses",
  ),
  flag("authorization-plugin", "list", "Plugin that is asked about every request of the API", {
    key: "authorization-plugins",
  }),
  flag("bip", "text", "IPv4 address and prefix of the default bridge: 172.30.0.1/24"),
  flag("bip6", "text", "IPv6 address and prefix of the default bridge: fd00:1::1/64"),
  flag("bridge", "text", "Name of the default bridge (default naru0)", { short: "b" }),
  flag(
    "bridge-accept-fwmark",
    "text",
    "Let packets with this mark of another firewall into bridges: 0x1 or 0x1/0xff",
  ),
  flag(
    "cdi-spec-dir",
    "list",
    "Folder where vendors describe their devices (default /etc/cdi, /var/run/cdi)",
    {
      key: "cdi-spec-dirs",
    },
  ),
  flag("cgroup-parent", "text", "Parent cgroup of all containers"),
  flag("config-file", "text", "Configuration file (default /etc/naru/daemon.json)", { key: null }),
  flag(
    "cpu-rt-period",
    "number",
    "Period of the real-time share of all containers, in microseconds (cgroups v1)",
  ),
  flag(
    "cpu-rt-runtime",
    "number",
    "Real-time share of all containers in a period, in microseconds (cgroups v1)",
  ),
  flag("data-root", "text", "Where images and containers are kept (default /var/lib/naru)"),
  flag("debug", "flag", "Log what is of use to developers", { short: "D" }),
  flag("default-cgroupns-mode", "text", "Cgroup namespace of containers: host or private"),
  flag(
    "default-gateway",
    "text",
    "Gateway of the default bridge's containers (default the bridge)",
  ),
  flag("default-gateway-v6", "text", "The same of IPv6"),
  flag("default-ipc-mode", "text", "IPC namespace of containers: shareable or private"),
  flag("default-network-opt", "list", "Option of new networks: driver=name=value", { key: null }),
  flag("default-runtime", "text", "Runtime of containers that ask for none (default naru)"),
  flag(
    "default-shm-size",
    "text",
    "Size of /dev/shm of containers that ask for none (default 64M)",
  ),
  flag("default-ulimit", "list", "Ulimit of containers: nofile=1024:2048", { key: null }),
  flag("dns", "list", "DNS servers of containers"),
  flag("dns-opt", "list", "DNS options of containers", { key: "dns-opts" }),
  flag("dns-search", "list", "DNS search domains of containers"),
  flag(
    "doctor",
    "text",
    "Look at what this host has for containers, print it as text or json, and end",
    {
      key: null,
    },
  ),
  flag("exec-opt", "list", "native.cgroupdriver=cgroupfs", { key: "exec-opts" }),
  flag("exec-root", "text", "Where sockets and runtime state are kept (default /run/naru)"),
  flag(
    "experimental",
    "flag",
    "Let clients use what Docker calls experimental: build --squash, checkpoints",
  ),
  flag("feature", "map", "Turn a feature on or off: name=true", { key: null }),
  flag("default-address-pool", "list", "Where networks get subnets: base=10.10.0.0/16,size=24", {
    key: null,
  }),
  flag("fixed-cidr", "text", "Part of the default bridge's subnet that containers are in"),
  flag("fixed-cidr-v6", "text", "The same of IPv6"),
  flag("group", "text", "Group of the socket (default naru, else docker, else root)", {
    short: "G",
  }),
  flag(
    "host",
    "list",
    "Where to listen: unix:///path, tcp://address:port, fd:// or fd://3 for systemd's",
    {
      short: "H",
      key: "hosts",
    },
  ),
  flag("host-gateway-ip", "list", "Addresses that host-gateway of --add-host stands for", {
    key: "host-gateway-ips",
  }),
  flag("http-proxy", "text", "Proxy for plain requests to registries"),
  flag("https-proxy", "text", "Proxy for TLS requests to registries"),
  flag("icc", "flag", "Containers of the default bridge reach each other (default true)"),
  flag("init", "flag", "Run an init in containers that do not say"),
  flag("init-path", "text", "The init program (default docker-init or tini)"),
  flag("insecure-registry", "list", "Registry that may be spoken to without TLS", {
    key: "insecure-registries",
  }),
  flag("ip", "text", "Address of the host where ports of the default bridge are published"),
  flag(
    "ip-forward",
    "flag",
    "Turn the host's forwarding on (default true); without it containers reach this host alone",
  ),
  flag(
    "ip-forward-no-drop",
    "flag",
    "Where forwarding was turned on, forward more than what containers send and get",
  ),
  flag(
    "ip-masq",
    "flag",
    "What the default bridge's containers send out is masqueraded (default true)",
  ),
  flag("ip6tables", "flag", "Firewall rules for IPv6 (default true)"),
  flag(
    "iptables",
    "flag",
    "Firewall rules for IPv4 (default true); without them ports are relayed, nothing is masqueraded or kept apart",
  ),
  flag("ipv6", "flag", "IPv6 on the default bridge"),
  flag("label", "list", "Label of the engine: key=value", { key: "labels" }),
  flag(
    "live-restore",
    "flag",
    "Containers run on when the daemon ends (default true); false stops them at a clean end",
  ),
  flag("log-driver", "text", "Log driver of containers (default json-file)"),
  flag("log-format", "text", "Form of the daemon's own log: text or json"),
  flag("log-level", "text", "Level of the daemon's own log: debug, info, warn, error", {
    short: "l",
  }),
  flag("log-opt", "map", "Log options of containers: max-size=10m", { key: "log-opts" }),
  flag("max-concurrent-downloads", "number", "Layers downloaded at a time (default 3)"),
  flag("max-concurrent-uploads", "number", "Layers uploaded at a time (default 5)"),
  flag("max-download-attempts", "number", "Attempts of each download (default 5)"),
  flag("metrics-addr", "text", "Where Prometheus' metrics are served: 127.0.0.1:9323"),
  flag("mtu", "number", "MTU of the default bridge"),
  flag("no-new-privileges", "flag", "Containers gain no privileges unless they say so"),
  flag("no-proxy", "text", "Hosts and networks that are spoken to without the proxy"),
  flag("pidfile", "text", "File with the daemon's process number (default /run/naru/naru.pid)", {
    short: "p",
  }),
  flag("raw-logs", "flag", "No colours in the daemon's own log on a terminal"),
  flag("registry-mirror", "list", "Mirror that is asked before Docker Hub", {
    key: "registry-mirrors",
  }),
  flag("resolv-conf", "text", "The host's resolver configuration (default /etc/resolv.conf)"),
  flag("seccomp-profile", "text", "Seccomp profile of containers: a file, builtin or unconfined"),
  flag("shutdown-timeout", "number", "Seconds containers have to stop at the end (default 15)"),
  flag("storage-driver", "text", "overlay2, which is what this engine has", { short: "s" }),
  flag("storage-opt", "list", "What containers may write: overlay2.size=10G", {
    key: "storage-opts",
  }),
  flag("tls", "flag", "Use TLS; implied by --tlsverify"),
  flag("tlscacert", "text", "Clients' certificates must be signed by this authority"),
  flag("tlscert", "text", "TLS certificate of the API"),
  flag("tlskey", "text", "TLS key of the API"),
  flag("tlsverify", "flag", "Use TLS, and ask clients for a certificate"),
  flag(
    "uninstall",
    "flag",
    "Take containers' processes, networks and cgroups off this host, and end",
    {
      key: null,
    },
  ),
  flag(
    "userland-proxy",
    "flag",
    "Relay published ports that the kernel cannot lead: [::1] (default true)",
  ),
  flag("validate", "flag", "Check flags and configuration, and end", { key: null }),
  flag("userns-remap", "text", "Whose subordinate ids containers have: default, or user[:group]"),
  flag("help", "flag", "Print this help", { short: "h", key: null }),
  flag("version", "flag", "Print the version", { short: "v", key: null }),
];

/** Keys of the file that are no plain flag. */
export const FILE_ONLY_KEYS: ReadonlySet<string> = new Set([
  "builder",
  "default-network-opts",
  "runtimes",
  // Of whoever packages an engine; init-path is the operator's.
  "default-init",
  "default-address-pools",
  "default-ulimits",
  "features",
  // dockerd 28 reads these two and does nothing with them.
  "allow-nondistributable-artifacts",
  "deprecated-key-path",
]);

/**
 * dockerd's options whose only honest value here is the one that says what this engine does anyway, by name: that
 * value, and why there is no other. Not in the help.
 */
export const FIXED: Readonly<Record<string, { readonly value: unknown; readonly why: string }>> = {
  "api-cors-header": { value: "", why: "web pages may not use the API: put a proxy in front" },
  containerd: { value: "", why: "there is no containerd" },
  "containerd-namespace": { value: "moby", why: "there is no containerd" },
  "containerd-plugin-namespace": { value: "plugins.moby", why: "there is no containerd" },
  "containerd-plugins-namespace": { value: "plugins.moby", why: "there is no containerd" },
  "cri-containerd": { value: false, why: "there is no containerd" },
  "min-api-version": { value: "1.24", why: "it is said by DOCKER_MIN_API_VERSION" },
  "network-control-plane-mtu": { value: 1500, why: "there is no swarm" },
  "network-diagnostic-port": { value: 0, why: "there is no swarm" },
  "node-generic-resources": { value: [], why: "there is no swarm" },
  restart: { value: true, why: "containers have restart policies" },
  rootless: { value: false, why: "this engine needs root" },
  "selinux-enabled": { value: false, why: "SELinux labels are not supported" },
  "swarm-default-advertise-addr": { value: "", why: "there is no swarm" },
  "swarm-raft-election-tick": { value: 0, why: "there is no swarm" },
  "swarm-raft-heartbeat-tick": { value: 0, why: "there is no swarm" },
  "userland-proxy-path": { value: "", why: "the relay is part of the engine" },
};
