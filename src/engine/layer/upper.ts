/**
 * An overlay's upper directory as a tar, in one walk: what a container changed, as Docker's `commit` writes it.
 * 0:0 devices become `.wh.` files, opaque directories get `.wh..wh..opq`. Names are sorted and times cut to
 * seconds (as Docker does), so the same changes give the same bytes.
 */
import { FileDescriptor, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, openPath } from "#linux/path";
import { treeTar } from "#linux/tree";

/**
 * The pieces of the tar.
 * @param skip paths (byte strings) that are the engine's own and no change of the container
 * @param latestSec times after it are written as it
 * @throws SyscallError, EngineError
 */
export function* upperTar(
  upper: string,
  skip: ReadonlySet<string> = new Set(),
  latestSec: number | null = null,
): Generator<Uint8Array, void, void> {
  using top = new FileDescriptor(openPath(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const limit = latestSec === null ? {} : { latestSec };
  yield* treeTar({ fd: top.fd, prefix: "", overlay: true, skip, ...limit });
}
