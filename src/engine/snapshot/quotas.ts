/**
 * Limits of snapshots: each limited one is a project of the file system below the data root, so that the kernel holds
 * it to its size whatever writes there. The project is written on the snapshot's own directory: it survives
 * every restart, and is given back with the directory.
 */
import { readdirSync } from "node:fs";

import { SyscallError } from "#linux/ffi";
import { hasProjectQuotas, limitProject, projectOf, setProject } from "#linux/quota";

/** Where our projects begin: Docker's begin at 1, operators' in /etc/projid mostly below a million. */
const FIRST_PROJECT = 0x4e41_0000;

export class Quotas {
  readonly #root: string;
  #supported: boolean | null = null;
  #next: number | null = null;

  constructor(root: string) {
    this.#root = root;
  }

  /** Asked once: a file system keeps its quotas while it is mounted. */
  get areSupported(): boolean {
    return (this.#supported ??= isSupported(this.#root));
  }

  /** Limits all that will be made in an empty directory. May run twice. @throws SyscallError */
  limit(path: string, limitBytes: number): void {
    const project = this.ownedProject(path) ?? this.#unused();
    setProject(path, project);
    limitProject(this.#root, project, limitBytes);
  }

  /** The project that was made for a directory; null for none, or where there are no quotas. */
  ownedProject(path: string): number | null {
    if (!this.areSupported) return null;
    try {
      const project = projectOf(path);
      return project >= FIRST_PROJECT && project !== projectOf(this.#root) ? project : null;
    } catch (error) {
      // No directory, or one of another file system.
      if (error instanceof SyscallError) return null;
      throw error;
    }
  }

  /** Gives back the project of a directory that is gone. May run twice. */
  release(project: number): void {
    try {
      limitProject(this.#root, project, 0);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
    }
  }

  #unused(): number {
    this.#next ??= this.#highest() + 1;
    const project = this.#next;
    this.#next += 1;
    return project;
  }

  #highest(): number {
    const used = readdirSync(this.#root).map(
      (name) => this.ownedProject(`${this.#root}/${name}`) ?? 0,
    );
    return used.reduce((highest, project) => Math.max(highest, project), FIRST_PROJECT);
  }
}

function isSupported(root: string): boolean {
  try {
    return hasProjectQuotas(root);
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}
