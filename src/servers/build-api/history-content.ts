/** The blobs of builds that are remembered, as containerd's content service: `buildx history inspect` and its kin read them. */
import { Content, grpcFailure, type GrpcRouter, GRPC_STATUS } from "#wire/grpc";

import type { BuildHistory } from "./history.ts";

const PIECE_BYTES = 256 * 1024;

export function addHistoryContent(router: GrpcRouter, history: BuildHistory): void {
  const blobOf = (digest: string): Uint8Array => {
    const bytes = history.blob(digest);
    if (bytes === null) throw grpcFailure(GRPC_STATUS.notFound, `content ${digest}: not found`);
    return bytes;
  };
  router
    .unary(Content.method.info, async ({ digest }) => ({
      info: { digest, size: BigInt(blobOf(digest).length) },
    }))
    .stream(Content.method.read, async function* ({ digest, offset, size }) {
      const bytes = blobOf(digest);
      const start = Number(offset);
      // A size of 0 means all that is left.
      const end = size === 0n ? bytes.length : Math.min(bytes.length, start + Number(size));
      if (start < 0 || start > bytes.length) {
        throw grpcFailure(GRPC_STATUS.invalidArgument, `invalid offset ${offset} of ${digest}`);
      }
      for (let at = start; at < end; at += PIECE_BYTES) {
        const data = bytes.subarray(at, Math.min(end, at + PIECE_BYTES));
        yield { offset: BigInt(at), data };
      }
    });
}
