/** The shapes of what clients send: every field of API 1.51, so that none is overlooked. */
import type {
  ContainerConfig,
  DeviceMapping,
  DeviceRequest,
  EndpointSettings,
  ExecCreateRequest,
  ExecStartRequest,
  HealthConfig,
  HostConfig,
  Mount,
  PortBinding,
  RestartPolicy,
  ThrottleDevice,
  Ulimit,
} from "#wire/docker";

import type { FieldsOf, Shape } from "./shape.ts";

const STRINGS: Shape = { list: "string" };
export const LABELS: Shape = { map: "string" };

export const struct = <Wire>(name: string, fields: FieldsOf<Wire>): Shape => ({
  struct: name,
  fields,
});

const healthConfig = struct<HealthConfig>("HealthcheckConfig", {
  Test: STRINGS,
  Interval: "int64",
  Timeout: "int64",
  Retries: "int",
  StartPeriod: "int64",
  StartInterval: "int64",
});

const config: FieldsOf<ContainerConfig> = {
  Hostname: "string",
  Domainname: "string",
  User: "string",
  AttachStdin: "bool",
  AttachStdout: "bool",
  AttachStderr: "bool",
  ExposedPorts: { map: "empty" },
  Tty: "bool",
  OpenStdin: "bool",
  StdinOnce: "bool",
  Env: STRINGS,
  Cmd: "words",
  Healthcheck: healthConfig,
  ArgsEscaped: "bool",
  Image: "string",
  Volumes: { map: "empty" },
  WorkingDir: "string",
  Entrypoint: "words",
  NetworkDisabled: "bool",
  MacAddress: "string",
  OnBuild: STRINGS,
  Labels: LABELS,
  StopSignal: "string",
  StopTimeout: "int",
  Shell: "words",
};

const mount = struct<Mount>("Mount", {
  Type: "string",
  Source: "string",
  Target: "string",
  ReadOnly: "bool",
  Consistency: "string",
  BindOptions: struct<NonNullable<Mount["BindOptions"]>>("BindOptions", {
    Propagation: "string",
    NonRecursive: "bool",
    CreateMountpoint: "bool",
    ReadOnlyNonRecursive: "bool",
    ReadOnlyForceRecursive: "bool",
  }),
  VolumeOptions: struct<NonNullable<Mount["VolumeOptions"]>>("VolumeOptions", {
    NoCopy: "bool",
    Labels: LABELS,
    DriverConfig: struct<{ Name: string; Options: object }>("Driver", {
      Name: "string",
      Options: LABELS,
    }),
    Subpath: "string",
  }),
  ImageOptions: struct<{ Subpath: string }>("ImageOptions", { Subpath: "string" }),
  TmpfsOptions: struct<NonNullable<Mount["TmpfsOptions"]>>("TmpfsOptions", {
    SizeBytes: "int64",
    Mode: "int",
    Options: { list: STRINGS },
  }),
});

const throttle: Shape = {
  list: struct<ThrottleDevice>("ThrottleDevice", { Path: "string", Rate: "int64" }),
};

const portMap: Shape = {
  map: { list: struct<PortBinding>("PortBinding", { HostIp: "string", HostPort: "string" }) },
};

const hostConfig: FieldsOf<HostConfig> = {
  CpuShares: "int64",
  Memory: "int64",
  NanoCpus: "int64",
  CgroupParent: "string",
  BlkioWeight: "uint16",
  BlkioWeightDevice: {
    list: struct<{ Path: string; Weight: number }>("WeightDevice", {
      Path: "string",
      Weight: "uint16",
    }),
  },
  BlkioDeviceReadBps: throttle,
  BlkioDeviceWriteBps: throttle,
  BlkioDeviceReadIOps: throttle,
  BlkioDeviceWriteIOps: throttle,
  CpuPeriod: "int64",
  CpuQuota: "int64",
  CpuRealtimePeriod: "int64",
  CpuRealtimeRuntime: "int64",
  CpusetCpus: "string",
  CpusetMems: "string",
  Devices: {
    list: struct<DeviceMapping>("DeviceMapping", {
      PathOnHost: "string",
      PathInContainer: "string",
      CgroupPermissions: "string",
    }),
  },
  DeviceCgroupRules: STRINGS,
  DeviceRequests: {
    list: struct<DeviceRequest>("DeviceRequest", {
      Driver: "string",
      Count: "int",
      DeviceIDs: STRINGS,
      Capabilities: { list: STRINGS },
      Options: LABELS,
    }),
  },
  KernelMemoryTCP: "int64",
  MemoryReservation: "int64",
  MemorySwap: "int64",
  MemorySwappiness: "int64",
  OomKillDisable: "bool",
  PidsLimit: "int64",
  Ulimits: { list: struct<Ulimit>("Ulimit", { Name: "string", Soft: "int64", Hard: "int64" }) },
  CpuCount: "int64",
  CpuPercent: "int64",
  IOMaximumIOps: "uint",
  IOMaximumBandwidth: "uint",
  Binds: STRINGS,
  ContainerIDFile: "string",
  LogConfig: struct<HostConfig["LogConfig"]>("LogConfig", { Type: "string", Config: LABELS }),
  NetworkMode: "string",
  PortBindings: portMap,
  RestartPolicy: struct<RestartPolicy>("RestartPolicy", {
    Name: "string",
    MaximumRetryCount: "int",
  }),
  AutoRemove: "bool",
  VolumeDriver: "string",
  VolumesFrom: STRINGS,
  ConsoleSize: { list: "uint" },
  Annotations: LABELS,
  CapAdd: "words",
  CapDrop: "words",
  CgroupnsMode: "string",
  Dns: STRINGS,
  DnsOptions: STRINGS,
  DnsSearch: STRINGS,
  ExtraHosts: STRINGS,
  GroupAdd: STRINGS,
  IpcMode: "string",
  Cgroup: "string",
  Links: STRINGS,
  OomScoreAdj: "int",
  PidMode: "string",
  Privileged: "bool",
  PublishAllPorts: "bool",
  ReadonlyRootfs: "bool",
  SecurityOpt: STRINGS,
  StorageOpt: LABELS,
  Tmpfs: LABELS,
  UTSMode: "string",
  UsernsMode: "string",
  ShmSize: "int64",
  Sysctls: LABELS,
  Runtime: "string",
  Isolation: "string",
  Mounts: { list: mount },
  MaskedPaths: STRINGS,
  ReadonlyPaths: STRINGS,
  Init: "bool",
};

/** The body of `POST /containers/{id}/update`: resources and the restart policy are read, the rest is refused. */
export const updateShape: Shape = { struct: "UpdateConfig", fields: hostConfig };

export const endpointSettings = struct<EndpointSettings>("EndpointSettings", {
  IPAMConfig: struct<NonNullable<EndpointSettings["IPAMConfig"]>>("EndpointIPAMConfig", {
    IPv4Address: "string",
    IPv6Address: "string",
    LinkLocalIPs: STRINGS,
  }),
  Links: STRINGS,
  Aliases: STRINGS,
  MacAddress: "string",
  DriverOpts: LABELS,
  GwPriority: "int",
  NetworkID: "string",
  EndpointID: "string",
  Gateway: "string",
  IPAddress: "string",
  IPPrefixLen: "int",
  IPv6Gateway: "string",
  GlobalIPv6Address: "string",
  GlobalIPv6PrefixLen: "int",
  DNSNames: STRINGS,
});

/** The body of `POST /containers/create`. */
export const createShape: Shape = {
  struct: "CreateRequest",
  fields: {
    ...config,
    HostConfig: { struct: "HostConfig", fields: hostConfig },
    NetworkingConfig: {
      struct: "NetworkingConfig",
      fields: { EndpointsConfig: { map: endpointSettings } },
    },
  },
};

/** The body of `POST /containers/{id}/exec`. */
export const execCreateShape = struct<ExecCreateRequest>("ExecOptions", {
  AttachStdin: "bool",
  AttachStdout: "bool",
  AttachStderr: "bool",
  ConsoleSize: { list: "uint" },
  DetachKeys: "string",
  Tty: "bool",
  Env: STRINGS,
  Cmd: "words",
  Privileged: "bool",
  User: "string",
  WorkingDir: "string",
});

/** The body of `POST /exec/{id}/start`. */
export const execStartShape = struct<ExecStartRequest>("ExecStartOptions", {
  Detach: "bool",
  Tty: "bool",
  ConsoleSize: { list: "uint" },
});
