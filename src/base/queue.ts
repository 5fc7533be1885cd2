/** One thing at a time: for one container, or one volume. */

export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #count = 0;
  #patient = 0;

  /** True while something waits for what runs now, other than what `runWhenIdle` was given. */
  get isAwaited(): boolean {
    return this.#count > 1;
  }

  /** True while something waits that lets everything else go first. */
  get isAwaitedPatiently(): boolean {
    return this.#patient > 0;
  }

  /** Runs `work` when everything before it has ended, well or badly. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work, work);
    const ended = () => void (this.#count -= 1);
    this.#count += 1;
    this.#tail = result.then(ended, ended);
    return result;
  }

  /** Runs `work` when nothing else waits: what others bring to `run` meanwhile goes before it. */
  async runWhenIdle<T>(work: () => Promise<T>): Promise<T> {
    this.#patient += 1;
    try {
      while (this.#count > 0) await this.#tail;
    } finally {
      this.#patient -= 1;
    }
    return await this.run(work);
  }
}
