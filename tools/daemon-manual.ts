/**
 * Writes the manual pages of the daemon, made of the one table of its flags: naru-daemon.8, and naru-daemon.json.5 of
 * its configuration file.
 *
 *   bun tools/daemon-manual.ts DIRECTORY [VERSION]      below it: man5/, man8/
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Flag, type FlagKind, flags } from "../src/programs/daemon-flags.ts";
import { roff } from "./manual-pages.ts";

/** How a value of the file is written. */
const FORMS: Readonly<Record<FlagKind, string>> = {
  text: "text",
  number: "number",
  flag: "true or false",
  list: "list of texts",
  map: "object of texts",
};

/** Keys that are no plain flag, by name: their form, and what they say. */
export const FILE_KEYS: Readonly<Record<string, readonly [form: string, about: string]>> = {
  "allow-nondistributable-artifacts": [
    "list of texts",
    "Read, and of no effect, as with dockerd 28",
  ],
  builder: [
    "object",
    'Of builds: "gc" with "enabled", "defaultKeepStorage" and "policy"; "entitlements"',
  ],
  "default-address-pools": [
    "list of objects",
    'Where networks get subnets: [{"base": "10.10.0.0/16", "size": 24}]',
  ],
  "default-init": ["text", "The init program that a package brings; init-path goes before it"],
  "default-network-opts": [
    "object of objects",
    'Options of new networks, by driver: {"bridge": {"com.docker.network.driver.mtu": "1400"}}',
  ],
  "default-ulimits": [
    "object of objects",
    'Ulimits of containers: {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 2048}}',
  ],
  "deprecated-key-path": ["text", "Read, and of no effect, as with dockerd 28"],
  features: ["object", 'Features to turn on or off: {"cdi": false}'],
  proxies: ["object", 'May hold "http-proxy", "https-proxy" and "no-proxy"'],
  runtimes: [
    "object of objects",
    'OCI runtimes: {"crun": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}}',
  ],
};

const head = (name: string, section: number, about: string, version: string): string =>
  `.TH ${roff(name.toUpperCase())} ${section} "" "naru ${version}" "Naru manual"\n` +
  `.SH NAME\n${roff(name)} \\- ${roff(about)}\n`;

const item = (title: string, about: string): string => `.TP\n.B ${roff(title)}\n${roff(about)}\n`;

const option = ({ name, short, kind, help }: Flag): string =>
  item(
    `${short === undefined ? "" : `-${short}, `}--${name}${kind === "flag" ? "" : ` ${kind}`}`,
    help,
  );

const daemonPage = (version: string): string =>
  [
    head("naru-daemon", 8, "the container engine", version),
    ".SH SYNOPSIS\n.B naru daemon\n[OPTIONS]\n",
    `.SH DESCRIPTION\n${roff("Serves the Docker Engine API. Containers run on when it ends, and when it is killed.")}\n`,
    `.SH OPTIONS\n${flags.map(option).join("")}`,
    ".SH FILES\n",
    item("/etc/naru/daemon.json", "The configuration file"),
    item("/var/lib/naru", "Images, containers, volumes and the database of records"),
    item("/run/naru", "The API's socket, and what does not outlive the machine's run"),
    ".SH SIGNALS\n",
    item(
      "SIGHUP",
      "The configuration file is read again; what dockerd reloads is in force at once",
    ),
    item("SIGTERM, SIGINT", "The daemon ends. Containers run on unless live-restore is false"),
    ".SH SEE ALSO\n.BR naru (1),\n.BR naru\\-daemon.json (5)\n",
  ].join("");

function filePage(version: string): string {
  const plain = flags.flatMap(({ key, kind, help }) =>
    key === null ? [] : [[key, [FORMS[kind], help]] as const],
  );
  const keys = [...plain, ...Object.entries(FILE_KEYS)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const reloaded =
    "debug, default-cgroupns-mode, default-ipc-mode, default-runtime, default-shm-size, features, " +
    "insecure-registries, labels, live-restore, max-concurrent-downloads, max-concurrent-uploads, " +
    "max-download-attempts, registry-mirrors, runtimes, shutdown-timeout";
  return [
    head("naru-daemon.json", 5, "configuration of the container engine", version),
    ".SH SYNOPSIS\n.B /etc/naru/daemon.json\n",
    `.SH DESCRIPTION\n${roff("One JSON object. Its keys are those of Docker's daemon.json. What is in it may not be given as a flag as well, and a key that is not known is an error: naru daemon --validate tells.")}\n`,
    `.SH KEYS\n${keys.map(([key, [form, about]]) => item(`${key} (${form})`, about)).join("")}`,
    `.SH RELOADING\n${roff(`At a SIGHUP (systemctl reload naru) these are read again: ${reloaded}. The others count from the next start.`)}\n`,
    '.SH EXAMPLES\n.nf\n{\n  "log-driver": "local",\n  "log-opts": {"max-size": "10m"},\n  "registry-mirrors": ["https://mirror.example"]\n}\n.fi\n',
    ".SH SEE ALSO\n.BR naru\\-daemon (8)\n",
  ].join("");
}

/** File below the manual's folder, and its text. */
export const daemonPages = (
  version: string,
): readonly (readonly [path: string, text: string])[] => [
  ["man8/naru-daemon.8", daemonPage(version)],
  ["man5/naru-daemon.json.5", filePage(version)],
];

if (import.meta.main) {
  const [directory = "dist/man", version = ""] = process.argv.slice(2);
  for (const [path, text] of daemonPages(version)) {
    mkdirSync(join(directory, path, ".."), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
}
