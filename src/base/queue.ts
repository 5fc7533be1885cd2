/** One thing at a time: for one container, or one volume. */

export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #count = 0;

  /** True while something waits for what runs now. */
  get isAwaited(): boolean {
    return this.#count > 1;
  }

  /** Runs `work` when everything before it has ended, well or badly. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work, work);
    const ended = () => void (this.#count -= 1);
    this.#count += 1;
    this.#tail = result.then(ended, ended);
    return result;
  }
}
