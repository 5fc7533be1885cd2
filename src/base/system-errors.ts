/**
 * The runtime's system errors in Go's words, since Docker's messages carry those and tools match on them:
 * `ENOSPC: no space left on device, write '/x'` becomes `write /x: no space left on device`.
 */

/** What Go's syscall.Errno prints, by the error's name. */
export const systemSentences = {
  EPERM: "operation not permitted",
  ENOENT: "no such file or directory",
  ESRCH: "no such process",
  EINTR: "interrupted system call",
  EIO: "input/output error",
  ENXIO: "no such device or address",
  E2BIG: "argument list too long",
  ENOEXEC: "exec format error",
  EBADF: "bad file descriptor",
  EAGAIN: "resource temporarily unavailable",
  ENOMEM: "cannot allocate memory",
  EACCES: "permission denied",
  EBUSY: "device or resource busy",
  EEXIST: "file exists",
  EXDEV: "invalid cross-device link",
  ENODEV: "no such device",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  EINVAL: "invalid argument",
  ENFILE: "too many open files in system",
  EMFILE: "too many open files",
  ETXTBSY: "text file busy",
  EFBIG: "file too large",
  ENOSPC: "no space left on device",
  EROFS: "read-only file system",
  EMLINK: "too many links",
  EPIPE: "broken pipe",
  ENAMETOOLONG: "file name too long",
  ENOSYS: "function not implemented",
  ENOTEMPTY: "directory not empty",
  ELOOP: "too many levels of symbolic links",
  ENODATA: "no data available",
  EOVERFLOW: "value too large for defined data type",
  EOPNOTSUPP: "operation not supported",
  ENOTSUP: "operation not supported",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
  ENETUNREACH: "network is unreachable",
  ECONNABORTED: "software caused connection abort",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  ENOTCONN: "transport endpoint is not connected",
  ETIMEDOUT: "connection timed out",
  EHOSTUNREACH: "no route to host",
  ESTALE: "stale file handle",
  EUCLEAN: "structure needs cleaning",
  EDQUOT: "disk quota exceeded",
} as const;

const isKnown = (code: unknown): code is keyof typeof systemSentences =>
  typeof code === "string" && Object.hasOwn(systemSentences, code);

/** Where Go's os package has another word than the runtime. */
const operations: Readonly<Record<string, string>> = {
  posix_spawn: "fork/exec",
  scandir: "open",
  copyfile: "copy",
  fsync: "sync",
  fdatasync: "sync",
  ftruncate: "truncate",
  fchmod: "chmod",
  fchown: "chown",
  utime: "chtimes",
  futime: "chtimes",
};

/** null for what the runtime did not say of a system call. */
export function systemSentenceOf(error: Error): string | null {
  const { code, syscall, path, dest } = error as NodeJS.ErrnoException & { dest?: string };
  if (!isKnown(code) || typeof syscall !== "string") return null;
  // Errors of our own carry codes too, with a sentence that is right already.
  if (!error.message.startsWith(`${code}: `)) return null;
  const subject = [operations[syscall] ?? syscall, path, dest].filter(Boolean).join(" ");
  return `${subject}: ${systemSentences[code]}`;
}
