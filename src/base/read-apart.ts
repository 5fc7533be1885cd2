/** Reading of files beside the event loop, which no slow disk holds up then. */
import { read } from "node:fs";

/**
 * @param position null: where the descriptor stands
 * @returns how many bytes came; 0 at the end
 */
export const readApart = (
  descriptor: number,
  into: Uint8Array,
  position: number | null,
): Promise<number> =>
  new Promise((resolve, reject) => {
    read(descriptor, into, 0, into.length, position, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
