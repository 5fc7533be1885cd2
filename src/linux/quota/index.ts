/**
 * Project quotas: a directory and all that is made below it belong to a project, and a project has a limit.
 * Sources: quotactl(2) and quotactl_fd (Linux 5.14), linux/quota.h, linux/dqblk_xfs.h; ioctl_xfs_fsgetxattr(2),
 * which ext4 has, too. The general quota calls reach both file systems.
 */
import { allocate, attempt, checked } from "#linux/ffi";
import {
  FileDescriptor,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openPath,
} from "#linux/path";

const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FSXATTR_BYTES = 28;
const FSX_PROJECT = 12;
/** What is made below inherits the project. */
const FS_XFLAG_PROJINHERIT = 0x200;

const PRJQUOTA = 2;
const command = (number: number): number => number * 0x100 + PRJQUOTA;
const Q_SETQUOTA = command(0x800008);
const Q_XGETQSTAT = command(0x5805);
const DQBLK_BYTES = 72;
const DQBLK_VALID = 64;
const QIF_BLIMITS = 1;
/** Limits are counted so, whatever the file system's blocks are. */
const BLOCK_BYTES = 1024n;
const QUOTA_STATE_BYTES = 128;
const QUOTA_STATE_FLAGS = 2;
/** Projects are counted, and their limits hold. */
const PROJECTS_ARE_LIMITED = 0x30;

const opened = (folder: string): FileDescriptor =>
  new FileDescriptor(openPath(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));

/** True where the folder's file system holds projects to limits: ext4 and xfs that are mounted with `prjquota`. */
export function hasProjectQuotas(folder: string): boolean {
  using directory = opened(folder);
  const state = allocate(QUOTA_STATE_BYTES);
  if (attempt("quotactl_fd", directory.fd, Q_XGETQSTAT, 0, state) < 0) return false;
  const flags = new DataView(state.buffer).getUint16(QUOTA_STATE_FLAGS, true);
  return (flags & PROJECTS_ARE_LIMITED) === PROJECTS_ARE_LIMITED;
}

/** The project of a folder; 0 is none. @throws SyscallError "ENOTTY" or "EOPNOTSUPP" where there are no projects */
export function projectOf(folder: string): number {
  using directory = opened(folder);
  return attributesOf(directory, folder).getUint32(FSX_PROJECT, true);
}

/** Puts an empty folder, and what will be made below it, into a project. @throws SyscallError */
export function setProject(folder: string, project: number): void {
  using directory = opened(folder);
  const attributes = attributesOf(directory, folder);
  attributes.setUint32(0, attributes.getUint32(0, true) | FS_XFLAG_PROJINHERIT, true);
  attributes.setUint32(FSX_PROJECT, project, true);
  const bytes = new Uint8Array(attributes.buffer);
  checked("ioctl", folder, directory.fd, FS_IOC_FSSETXATTR, bytes);
}

/**
 * Limits what a project takes on a folder's file system; with 0 nothing is limited, and the project is forgotten
 * when it is empty.
 * @throws SyscallError "ESRCH" without quotas
 */
export function limitProject(folder: string, project: number, limitBytes: number): void {
  using directory = opened(folder);
  const limits = allocate(DQBLK_BYTES);
  const view = new DataView(limits.buffer);
  const blocks = BigInt(limitBytes) / BLOCK_BYTES;
  view.setBigUint64(0, blocks, true);
  view.setBigUint64(8, blocks, true);
  view.setUint32(DQBLK_VALID, QIF_BLIMITS, true);
  checked("quotactl_fd", folder, directory.fd, Q_SETQUOTA, project, limits);
}

function attributesOf(directory: FileDescriptor, folder: string): DataView<ArrayBuffer> {
  const bytes = allocate(FSXATTR_BYTES);
  checked("ioctl", folder, directory.fd, FS_IOC_FSGETXATTR, bytes);
  return new DataView(bytes.buffer);
}
