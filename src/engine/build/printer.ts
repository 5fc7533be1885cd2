/** What a step prints: Docker's frames in, text out. */
import { FrameDecoder } from "#wire/docker";

/** Characters that were cut in two wait for their other half. */
export function printer(
  onText: (text: string, stderr: boolean) => Promise<void>,
): (frames: Uint8Array) => Promise<void> {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const pieces: { text: string; stderr: boolean }[] = [];
  const frames = new FrameDecoder((stream, payload) => {
    const stderr = stream === "stderr";
    const decoder = stderr ? decoders.stderr : decoders.stdout;
    const text = decoder.decode(payload, { stream: true });
    if (text !== "") pieces.push({ text, stderr });
  });
  return async (bytes) => {
    frames.push(bytes);
    for (const { text, stderr } of pieces.splice(0)) await onText(text, stderr);
  };
}
