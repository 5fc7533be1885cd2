/** What a volume may be called. Pure. */
import { invalid } from "#base";

const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
/** A folder's name. */
const NAME_LIMIT = 255;

/** On volumes that nobody named: what prune takes without being told more. */
export const ANONYMOUS_LABEL = "com.docker.volume.anonymous";

export const isVolumeName = (name: string): boolean =>
  VOLUME_NAME.test(name) && name.length <= NAME_LIMIT;

/** @throws EngineError "invalid" in Docker's words */
export function checkVolumeName(name: string): void {
  if (isVolumeName(name)) return;
  if (name.length === 1) {
    throw invalid(
      `create ${name}: volume name is too short, names should be at least two alphanumeric characters`,
    );
  }
  throw invalid(
    `create ${name}: "${name}" includes invalid characters for a local volume name, ` +
      'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
  );
}
