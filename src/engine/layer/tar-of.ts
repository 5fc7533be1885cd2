/** A layer's tar, read back from its file. */
import { open, type FileHandle } from "node:fs/promises";

import { internal } from "#base";

import { HEAD_BYTES } from "./layer-file.ts";

const PIECE_BYTES = 1024 * 1024;

/** The exact bytes of the tar; the file is opened at the first read and closed at the end or on cancel. */
export function tarOf(path: string, tarSizeBytes: number): ReadableStream<Uint8Array> {
  let file: FileHandle | null = null;
  let position = HEAD_BYTES;
  const end = HEAD_BYTES + tarSizeBytes;
  const close = async () => {
    await file?.close();
    file = null;
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (position === end) {
          await close();
          return controller.close();
        }
        file ??= await open(path, "r");
        const piece = new Uint8Array(Math.min(PIECE_BYTES, end - position));
        const { bytesRead } = await file.read(piece, 0, piece.length, position);
        if (bytesRead === 0) {
          await close();
          throw internal(`${path} ends before its tar does`);
        }
        position += bytesRead;
        controller.enqueue(piece.subarray(0, bytesRead));
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
}
