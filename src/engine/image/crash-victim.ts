/** A process that pulls or loads into a folder, telling each step on a line of its own, to be killed at one of them. */
import { collector, noSignal, openLab } from "./image-lab.ts";

const [, , root = "", work = "", subject = ""] = process.argv;
const lab = openLab(root);
const { lines, onProgress } = collector();
const tell = (message: Parameters<typeof onProgress>[0]): void => {
  onProgress(message);
  console.log(lines().at(-1));
};
console.log("ready");
if (work === "pull") {
  await lab.images.pull({ reference: subject, signal: noSignal, onProgress: tell });
} else {
  const archive = Bun.file(subject).stream();
  await lab.images.load({ archive, quiet: false, signal: noSignal, onProgress: tell });
}
console.log("done");
// Waits to be killed: what it did last must hold without a clean end.
setInterval(() => null, 1000);
