/** Runtime drivers: spec in, process out. */
export * from "./driver.ts";
export { runtimeFeatures } from "./features.ts";
export * from "./identity.ts";
export { formatRuntimeCommand, parseRuntimeCommand, type RuntimeCommand } from "./oci/command.ts";
export { openOciDriver, type OciDriverOptions } from "./oci/driver.ts";
export {
  type NativeDriver,
  type NativeDriverOptions,
  openNativeDriver,
} from "./native/native-driver.ts";
export { hostIdOf, type IdMaps, readIdMaps } from "./native/user-namespaces.ts";
export { type RuntimeDefaults, runtimeDefaults } from "./defaults/spec-defaults.ts";
