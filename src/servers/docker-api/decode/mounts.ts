/** Binds, Mounts and Tmpfs of a create request, as the domain's mounts. */
import { invalid } from "#base";
import type { MountPropagation, MountRequest } from "#engine/container";
import type { HostConfig, Mount } from "#wire/docker";

const PROPAGATIONS: ReadonlySet<string> = new Set<MountPropagation>([
  "private",
  "rprivate",
  "shared",
  "rshared",
  "slave",
  "rslave",
]);
const isPropagation = (text: string): text is MountPropagation => PROPAGATIONS.has(text);

/** Options of `-v` that mean nothing on Linux without SELinux, and that Docker takes. */
const WITHOUT_EFFECT = new Set(["z", "Z", "consistent", "cached", "delegated"]);

export function decodeMounts(
  host: Pick<Partial<HostConfig>, "Binds" | "Mounts" | "Tmpfs">,
): MountRequest[] {
  return [
    ...(host.Binds ?? []).map(decodeBind),
    ...(host.Mounts ?? []).map(decodeMount),
    ...Object.entries(host.Tmpfs ?? {}).map(([target, options]) => decodeTmpfs(target, options)),
  ];
}

/** `source:target[:options]`; the target alone is an anonymous volume. @throws EngineError "invalid" */
export function decodeBind(text: string): MountRequest {
  const broken = (why = "") => invalid(`invalid volume specification: '${text}'${why}`);
  const parts = text.split(":");
  if (parts.length > 3 || parts.some((part) => part === "")) throw broken();
  const [source, target, options] = parts.length === 1 ? ["", parts[0]] : parts;
  if (source === undefined || target === undefined) throw broken();
  if (!target.startsWith("/")) {
    throw broken(
      `: invalid mount config for type "${source.startsWith("/") ? "bind" : "volume"}": invalid mount path: '${target}' mount path must be absolute`,
    );
  }
  if (/^\/+$/.test(target))
    throw broken(": invalid volume specification: destination can't be '/'");
  const mode = decodeBindOptions(options ?? "");
  if (source.startsWith("/")) {
    if (mode.noCopy) throw broken(": nocopy is only for volumes");
    return {
      type: "bind",
      source,
      target,
      readOnly: mode.readOnly,
      propagation: mode.propagation ?? "rprivate",
      recursive: true,
      createSource: true,
      asWritten: text,
    };
  }
  if (mode.propagation !== null) throw invalid(`invalid mode: ${options ?? ""}`);
  const { readOnly, noCopy } = mode;
  return { type: "volume", name: source, target, readOnly, noCopy, asWritten: text };
}

interface BindOptions {
  readonly readOnly: boolean;
  readonly noCopy: boolean;
  readonly propagation: MountPropagation | null;
}

/** Each kind of option at most once, as Docker's parser holds it. */
function decodeBindOptions(text: string): BindOptions {
  const refused = invalid(`invalid mode: ${text}`);
  const result: { -readonly [Key in keyof BindOptions]: BindOptions[Key] } = {
    readOnly: false,
    noCopy: false,
    propagation: null,
  };
  const seen = new Set<string>();
  for (const option of text === "" ? [] : text.split(",")) {
    const kind = kindOfOption(option);
    if (kind === null || seen.has(kind)) throw refused;
    seen.add(kind);
    if (kind === "access") result.readOnly = option === "ro";
    else if (kind === "copy") result.noCopy = true;
    else if (isPropagation(option)) result.propagation = option;
  }
  return result;
}

function kindOfOption(option: string): string | null {
  if (option === "ro" || option === "rw") return "access";
  if (option === "nocopy") return "copy";
  if (isPropagation(option)) return "propagation";
  if (!WITHOUT_EFFECT.has(option)) return null;
  return option.toLowerCase() === "z" ? "label" : "consistency";
}

/** `--mount`. @throws EngineError "invalid", naming what */
export function decodeMount(mount: Mount): MountRequest {
  const { Type: type = "", Target: target = "" } = mount as Partial<Omit<Mount, "Type">> & {
    Type?: string;
  };
  const refused = (why: string) => invalid(`invalid mount config for type "${type}": ${why}`);
  if (target === "") throw refused("field Target must not be empty");
  const others = {
    BindOptions: "bind",
    VolumeOptions: "volume",
    TmpfsOptions: "tmpfs",
    ImageOptions: "image",
  } as const;
  for (const field of Object.keys(others) as (keyof typeof others)[]) {
    if (mount[field] !== undefined && others[field] !== type) {
      throw refused(`field ${field} must not be specified`);
    }
  }
  switch (type) {
    case "bind":
      return decodeBindMount(mount, target, refused);
    case "volume":
      return decodeVolumeMount(mount, target, refused);
    case "tmpfs":
      return decodeTmpfsMount(mount, target, refused);
    case "image":
      return decodeImageMount(mount, target, refused);
    default:
      throw refused("mount type unknown");
  }
}

function decodeImageMount(mount: Mount, target: string, refused: Refused): MountRequest {
  const { Source: source = "", ImageOptions: options = {} } = mount;
  if (source === "") throw refused("field Source must not be empty");
  const { Subpath: subpath = "" } = options;
  return { type: "image", source, target, ...(subpath === "" ? {} : { subpath }) };
}

type Refused = (why: string) => Error;

function decodeBindMount(mount: Mount, target: string, refused: Refused): MountRequest {
  const { Source: source = "", ReadOnly: readOnly = false, BindOptions: options = {} } = mount;
  if (source === "") throw refused("field Source must not be empty");
  const { Propagation: propagation = "", NonRecursive: nonRecursive = false } = options;
  if (propagation !== "" && !isPropagation(propagation)) {
    throw refused(`invalid propagation mode: ${propagation}`);
  }
  const reach = readOnlyReach(options, refused);
  if (reach !== null && !readOnly) throw refused("mount is not readonly");
  if (reach === "force" && propagation !== "" && propagation !== "rprivate") {
    throw refused('ReadOnlyForceRecursive requires the bind propagation to be "rprivate"');
  }
  return {
    type: "bind",
    source,
    target,
    readOnly,
    propagation: isPropagation(propagation) ? propagation : "rprivate",
    recursive: !nonRecursive,
    createSource: options.CreateMountpoint ?? false,
    isMount: true,
    ...(reach === null ? {} : { readOnlyReach: reach }),
  };
}

function readOnlyReach(
  { ReadOnlyNonRecursive: top, ReadOnlyForceRecursive: force }: NonNullable<Mount["BindOptions"]>,
  refused: Refused,
): "top" | "force" | null {
  if (top === true && force === true) {
    throw refused("ReadOnlyForceRecursive and ReadOnlyNonRecursive are mutually exclusive");
  }
  return top === true ? "top" : force === true ? "force" : null;
}

function decodeVolumeMount(mount: Mount, target: string, refused: Refused): MountRequest {
  const { Source: name = "", ReadOnly: readOnly = false, VolumeOptions: options = {} } = mount;
  if (name === "" && readOnly)
    throw refused("must not set ReadOnly mode when using anonymous volumes");
  const { Labels: labels, DriverConfig: driver, Subpath: subpath = "" } = options;
  if (name === "" && subpath !== "") {
    throw refused("must not set Subpath when using anonymous volumes");
  }
  const given = (map: Record<string, string> | null | undefined) =>
    Object.keys(map ?? {}).length === 0 ? null : (map ?? null);
  const asked = { labels: given(labels), driverOptions: given(driver?.Options) };
  return {
    type: "volume",
    name,
    target,
    readOnly,
    noCopy: options.NoCopy ?? false,
    isMount: true,
    ...(subpath === "" ? {} : { subpath }),
    ...(asked.labels === null ? {} : { labels: asked.labels }),
    ...(asked.driverOptions === null ? {} : { driverOptions: asked.driverOptions }),
    ...(driver?.Name === undefined || driver.Name === "" ? {} : { driver: driver.Name }),
  };
}

function decodeTmpfsMount(mount: Mount, target: string, refused: Refused): MountRequest {
  const { Source: source = "", ReadOnly: readOnly = false, TmpfsOptions: options = {} } = mount;
  if (source !== "") throw refused("field Source must not be specified");
  const { SizeBytes: size = 0, Mode: mode = 0 } = options;
  if (mode < 0 || mode > 0o7777) throw refused(`invalid mode: ${mode}`);
  const words = (options.Options ?? []).map((option) => {
    if (option.length < 1 || option.length > 2) throw refused("invalid option array length");
    return option.join("=");
  });
  return {
    type: "tmpfs",
    target,
    sizeBytes: size === 0 ? null : size,
    mode: mode === 0 ? null : mode,
    options: readOnly ? ["ro", ...words] : words,
    isMount: true,
  };
}

const decodeTmpfs = (target: string, options: string): MountRequest => ({
  type: "tmpfs",
  target,
  sizeBytes: null,
  mode: null,
  options: options === "" ? [] : options.split(","),
});
