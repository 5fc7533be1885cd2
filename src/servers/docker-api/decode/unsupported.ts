/** HostConfig's options that this engine cannot honour yet, or that Linux has no meaning for: each refused by name. */
import { type EngineError, invalid } from "#base";
import type { HostConfig } from "#wire/docker";

type Host = Partial<HostConfig>;

/** Whether a field holds more than its zero value. */
export const given = (value: unknown): boolean => {
  if (value === undefined || value === null || value === "" || value === 0) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
};

/** By field: how it is refused when it is given with more than its zero value. */
const REFUSED: { readonly [Field in keyof Host]?: (host: Host) => EngineError | null } = {
  IOMaximumIOps: () =>
    invalid("invalid option: QoS maximum IOPs configuration is not supported on linux"),
  IOMaximumBandwidth: () =>
    invalid("invalid option: QoS maximum bandwidth configuration is not supported on linux"),
  Isolation: ({ Isolation: isolation }) =>
    isolation === "default"
      ? null
      : invalid(`invalid isolation (${isolation}): linux only supports 'default'`),
};

const FIELDS = Object.keys(REFUSED) as (keyof Host)[];

/** @throws EngineError "invalid" */
export function refuseUnsupported(host: Host): void {
  for (const field of FIELDS) {
    if (!given(host[field])) continue;
    const error = REFUSED[field]?.(host) ?? null;
    if (error !== null) throw error;
  }
}
