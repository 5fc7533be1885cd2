/** What a process decides about itself: prctl(2). */
import { checked } from "#linux/ffi";

const PR_SET_DUMPABLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;

/** Orphans below this process become its children, instead of pid 1's. Not inherited by children. */
export const setSubreaper = (on: boolean): void => {
  checked("prctl", "PR_SET_CHILD_SUBREAPER", PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0);
};

/**
 * Nobody without CAP_SYS_PTRACE over this process may open its /proc files (executable, descriptors, memory).
 * A change of credentials undoes it: call it again after one.
 */
export const setNotDumpable = (): void => {
  checked("prctl", "PR_SET_DUMPABLE", PR_SET_DUMPABLE, 0, 0, 0, 0);
};
