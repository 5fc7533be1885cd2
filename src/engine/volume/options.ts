/** Options of the `local` driver: checked, and turned into one mount. */
import { invalid, sentenceOf, unavailable } from "#base";
import {
  leadsToStalling,
  type MountOptions,
  mount,
  mountSetattr,
  moveMount,
  OPEN_TREE_CLONE,
  openTree,
  parseMountOptions,
  stallingTargets,
  typeMayStall,
} from "#linux/mount";
import { AT_RECURSIVE, FileDescriptor } from "#linux/path";

const KNOWN = new Set(["type", "o", "device", "size"]);
const REQUIRED: Readonly<Record<string, readonly string[]>> = {
  device: ["type"],
  type: ["device"],
  o: ["device", "type"],
};
/** What one page takes, which is all that mount(2) reads. */
const DATA_LIMIT = 4000;

export type DriverOptions = Readonly<Record<string, string>>;

/** @throws EngineError "invalid" in Docker's words */
export function checkDriverOptions(options: DriverOptions): void {
  for (const key of Object.keys(options)) {
    if (!KNOWN.has(key)) throw invalid(`invalid option: "${key}"`);
  }
  if (Object.hasOwn(options, "size")) throw invalid("quota size requested but no quota support");
  for (const [key, others] of Object.entries(REQUIRED)) {
    if (!Object.hasOwn(options, key)) continue;
    for (const other of others) {
      if (!options[other]) throw invalid(`missing required option: "${other}"`);
    }
  }
  if ((options["o"] ?? "").length > DATA_LIMIT) throw invalid('invalid option: "o" is too long');
  if (Object.values(options).some((value) => value.includes("\0"))) {
    throw invalid("an option holds a NUL byte");
  }
  parseMountOptions(options["type"] ?? "none", words(options["o"]));
}

const words = (text = ""): string[] => text.split(",").filter((word) => word !== "");

/** Whether the volume is a mount of its own, and no plain folder. */
export const isMountVolume = (options: DriverOptions): boolean => options["device"] !== undefined;

/** Whether mounting it, or reading it, may mean to wait for a server. */
export const mayStall = ({ type = "none", device = "" }: DriverOptions): boolean =>
  typeMayStall(type) || (device.startsWith("/") && leadsToStalling(device, stallingTargets()));

/**
 * Mounts what the options name on the volume's folder.
 * @throws EngineError "unavailable": `failed to mount local volume: mount device:path, flags: 0x1000: why`
 */
export async function mountVolume(options: DriverOptions, path: string): Promise<void> {
  const { type = "none", device = "", o: asked = "" } = options;
  const resolved = await resolveAddress(type, words(asked), device);
  const parsed = parseMountOptions(type, resolved);
  try {
    if (parsed.bind) bind(device, path, parsed);
    else mount({ source: device, target: path, type, flags: parsed.flags, data: parsed.data });
  } catch (cause) {
    const flags = parsed.bind ? 0x1000 : parsed.flags;
    const data = parsed.data === "" ? "" : `, data: ${withoutPassword(parsed.data)}`;
    const sentence = sentenceOf(cause);
    const reason = sentence.slice(sentence.lastIndexOf(": ") + 2);
    throw unavailable(
      `error while mounting volume '${path}': failed to mount local volume: ` +
        `mount ${device}:${path}, flags: 0x${flags.toString(16)}${data}: ${reason}`,
      { cause },
    );
  }
}

/** Made aside with its attributes, then attached: there is no moment in which a read-only one can be written. */
function bind(device: string, path: string, options: MountOptions): void {
  const { recursiveBind, set, clear, recursiveSet, recursiveClear, propagation } = options;
  const flags = OPEN_TREE_CLONE | (recursiveBind ? AT_RECURSIVE : 0);
  using tree = new FileDescriptor(openTree({ path: device, flags }));
  if (set !== 0 || clear !== 0) mountSetattr({ fd: tree.fd, set, clear });
  if (recursiveSet !== 0 || recursiveClear !== 0) {
    mountSetattr({ fd: tree.fd, set: recursiveSet, clear: recursiveClear, recursive: true });
  }
  if (propagation !== null) {
    mountSetattr({
      fd: tree.fd,
      propagation: propagation.type,
      recursive: propagation.recursive,
    });
  }
  moveMount({ fromFd: tree.fd, toPath: path });
}

const withoutPassword = (data: string): string =>
  data.replace(/(^|,)(pass|password)=[^,]*/g, "$1$2=********");

/** The kernel's NFS and SMB take addresses, people write names. @throws EngineError "unavailable" */
async function resolveAddress(type: string, options: string[], device: string): Promise<string[]> {
  if (!/^(nfs4?|cifs|smb3)$/.test(type)) return options;
  const at = options.findIndex((option) => option.startsWith("addr="));
  const named = at < 0 ? undefined : options[at]?.slice("addr=".length);
  const host = named ?? (type === "cifs" || type === "smb3" ? device.split("/")[2] : undefined);
  if (host === undefined || host === "") return options;
  const { isIP } = await import("node:net");
  const address = isIP(host) > 0 ? host : await lookUp(host);
  return [...options.filter((_, index) => index !== at), `addr=${address}`];
}

async function lookUp(host: string): Promise<string> {
  const { lookup } = await import("node:dns/promises");
  try {
    // As Docker's does, it prefers IPv4 whatever comes first.
    const found = await lookup(host, { all: true });
    return (found.find(({ family }) => family === 4) ?? found[0])?.address ?? host;
  } catch (cause) {
    throw unavailable(`error resolving passed in network volume address: lookup ${host}`, {
      cause,
    });
  }
}
