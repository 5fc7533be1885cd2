/** `naru network`: make, connect, disconnect, list, remove and prune. */
import {
  ApiError,
  connectNetwork,
  createNetwork,
  disconnectNetwork,
  listNetworks,
  pruneNetworks,
  removeNetwork,
} from "#clients/api-client";
import { invalid } from "#base";
import { Row } from "#go-template";
import type { NetworkInspect } from "#wire/docker";

import type { FlagSpec } from "../flags/spec.ts";
import { checkLabel, checkLink, filtersOf } from "../options/checks.ts";
import { keyValue } from "../options/csv.ts";
import { mapOf } from "../options/files.ts";
import { parsePools } from "../options/ipam.ts";
import { FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { localTimeOf } from "../output/units.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine, warn } from "../terminal/stdio.ts";
import { type Command, ExitError } from "./command.ts";
import { DRY_RUN_FLAG, previewPrune } from "./dry-run.ts";
import { messageFor } from "./failure.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";

const flag = (name: string, kind: FlagSpec["kind"], usage: string, more: Partial<FlagSpec> = {}) =>
  ({ name, kind, usage, ...more }) satisfies FlagSpec;

export const create: Command = {
  flags: [
    flag("attachable", "bool", "Enable manual container attachment"),
    flag("aux-address", "list", "Auxiliary IPv4 or IPv6 addresses used by Network driver", {
      shown: "map",
    }),
    flag("config-from", "string", "The network from which to copy the configuration"),
    flag("config-only", "bool", "Create a configuration only network"),
    flag("driver", "string", "Driver to manage the Network", {
      shorthand: "d",
      fallback: "bridge",
    }),
    flag("gateway", "strings", "IPv4 or IPv6 Gateway for the master subnet"),
    flag("ingress", "bool", "Create swarm routing-mesh network"),
    flag("internal", "bool", "Restrict external access to the network"),
    flag("ip-range", "strings", "Allocate container ip from a sub-range"),
    flag("ipam-driver", "string", "IP Address Management Driver", { fallback: "default" }),
    flag("ipam-opt", "list", "Set IPAM driver specific options", { shown: "map" }),
    flag("ipv4", "bool", "Enable or disable IPv4 address assignment", { fallback: true }),
    flag("ipv6", "bool", "Enable or disable IPv6 address assignment"),
    flag("label", "list", "Set metadata on a network", { check: checkLabel }),
    flag("opt", "list", "Set driver specific options", { shorthand: "o", shown: "map" }),
    flag("scope", "string", "Control the network's scope"),
    flag("subnet", "strings", "Subnet in CIDR format that represents a network segment"),
  ],
  async run({ flags, args, session }) {
    const [Name = ""] = args;
    const Config = parsePools({
      subnets: flags.list("subnet"),
      ranges: flags.list("ip-range"),
      gateways: flags.list("gateway"),
      auxiliary: flags.list("aux-address"),
    });
    const configFrom = flags.string("config-from");
    const answer = await createNetwork(await session.client(), {
      Name,
      Driver: flags.string("driver"),
      Scope: flags.string("scope"),
      ...(flags.changed("ipv4") ? { EnableIPv4: flags.bool("ipv4") } : {}),
      ...(flags.changed("ipv6") ? { EnableIPv6: flags.bool("ipv6") } : {}),
      IPAM: { Driver: flags.string("ipam-driver"), Options: mapOf(flags.list("ipam-opt")), Config },
      Internal: flags.bool("internal"),
      Attachable: flags.bool("attachable"),
      Ingress: flags.bool("ingress"),
      ConfigOnly: flags.bool("config-only"),
      ...(configFrom === "" ? {} : { ConfigFrom: { Network: configFrom } }),
      Options: mapOf(flags.list("opt")),
      Labels: mapOf(flags.list("label")),
    });
    if (answer.Warning) warn(answer.Warning);
    printLine(answer.Id);
    return 0;
  },
};

export const connect: Command = {
  flags: [
    flag("alias", "strings", "Add network-scoped alias for the container"),
    flag("driver-opt", "strings", "driver options for the network"),
    flag(
      "gw-priority",
      "int",
      "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
    ),
    flag("ip", "string", 'IPv4 address (e.g., "172.30.100.104")'),
    flag("ip6", "string", 'IPv6 address (e.g., "2001:db8::33")'),
    flag("link", "list", "Add link to another container", { check: checkLink }),
    flag("link-local-ip", "strings", "Add a link-local address for the container"),
  ],
  async run({ flags, args, session }) {
    const [network = "", Container = ""] = args;
    const options = flags.list("driver-opt").map((option) => {
      const [name, value] = keyValue(option);
      if (value === undefined) throw invalid("invalid key/value pair format in driver options");
      return [name, value] as const;
    });
    await connectNetwork(await session.client(), network, {
      Container,
      EndpointConfig: {
        IPAMConfig: {
          IPv4Address: flags.string("ip"),
          IPv6Address: flags.string("ip6"),
          LinkLocalIPs: [...flags.list("link-local-ip")],
        },
        Links: [...flags.list("link")],
        Aliases: [...flags.list("alias")],
        DriverOpts: Object.fromEntries(options),
        GwPriority: flags.number("gw-priority"),
      },
    });
    return 0;
  },
};

export const disconnect: Command = {
  flags: [
    flag("force", "bool", "Force the container to disconnect from a network", { shorthand: "f" }),
  ],
  async run({ flags, args, session }) {
    const [network = "", Container = ""] = args;
    await disconnectNetwork(await session.client(), network, {
      Container,
      Force: flags.bool("force"),
    });
    return 0;
  },
};

const TABLE = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const RAW = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";
const HEADERS = {
  ID: "NETWORK ID",
  Name: "NAME",
  Driver: "DRIVER",
  Scope: "SCOPE",
  IPv4: "IPV4",
  IPv6: "IPV6",
  Internal: "INTERNAL",
  Labels: "LABELS",
  CreatedAt: "CREATED AT",
};
const SHORT_ID = 12;

export const ls: Command = {
  flags: [
    { ...FILTER_FLAG, usage: 'Provide filter values (e.g. "driver=bridge")' },
    flag("format", "string", FORMAT_LIST_USAGE),
    JSON_FLAG,
    flag("no-trunc", "bool", "Do not truncate the output"),
    flag("quiet", "bool", "Only display network IDs", { shorthand: "q" }),
  ],
  async run({ flags, session }) {
    const filters = filtersOf(flags.list("filter"));
    const render = listFormatter({
      format: flags.string("format"),
      table: TABLE,
      raw: RAW,
      headers: HEADERS,
    });
    const networks = await listNetworks(await session.client(), filters);
    if (flags.bool("json")) {
      printLine(JSON.stringify(networks));
      return 0;
    }
    networks.sort((one, other) =>
      one.Name.localeCompare(other.Name, "en", { numeric: true, sensitivity: "variant" }),
    );
    const idOf = ({ Id }: NetworkInspect) => (flags.bool("no-trunc") ? Id : Id.slice(0, SHORT_ID));
    if (flags.bool("quiet") && !flags.changed("format")) {
      print(networks.map((network) => `${idOf(network)}\n`).join(""));
      return 0;
    }
    print(render(networks.map((network) => rowOf(network, idOf(network)))));
    return 0;
  },
};

const rowOf = (network: NetworkInspect, id: string): Row =>
  new Row("*network.networkContext", {
    ID: () => id,
    Name: () => network.Name,
    Driver: () => network.Driver,
    Scope: () => network.Scope,
    IPv4: () => String(network.EnableIPv4),
    IPv6: () => String(network.EnableIPv6),
    Internal: () => String(network.Internal),
    Labels: () =>
      Object.entries(network.Labels ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .toSorted()
        .join(","),
    CreatedAt: () => localTimeOf(network.Created),
    Label: (name: unknown) => network.Labels?.[String(name)] ?? "",
  });

export const rm: Command = {
  flags: [flag("force", "bool", "Do not error if the network does not exist", { shorthand: "f" })],
  async run({ flags, args, session }) {
    const client = await session.client();
    let failed = false;
    for (const name of args) {
      try {
        await removeNetwork(client, name);
        printLine(name);
      } catch (cause) {
        const isMissing = cause instanceof ApiError && cause.status === 404;
        if (flags.bool("force") && isMissing) continue;
        warn(messageFor(cause));
        failed = true;
      }
    }
    if (failed) throw new ExitError(1);
    return 0;
  },
};

const WARNING = "WARNING! This will remove all custom networks not used by at least one container.";

export const prune: Command = {
  flags: [
    { ...FILTER_FLAG, shorthand: "", usage: 'Provide filter values (e.g. "until=<timestamp>")' },
    DRY_RUN_FLAG,
    flag("force", "bool", "Do not prompt for confirmation", { shorthand: "f" }),
  ],
  async run({ flags, session }) {
    const filters = filtersOf(flags.list("filter"));
    if (flags.bool("dry-run")) {
      return previewPrune(await session.client(), ["networks"], { filters, all: false });
    }
    if (!flags.bool("force") && !confirm(WARNING)) return 0;
    const { NetworksDeleted: deleted } = await pruneNetworks(await session.client(), filters);
    if (deleted && deleted.length > 0) print(`Deleted Networks:\n${deleted.join("\n")}\n\n`);
    return 0;
  },
};
