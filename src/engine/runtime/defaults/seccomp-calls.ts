/**
 * The system calls that Docker's default profile lets through, in groups with their conditions. Facts from moby's
 * profiles/seccomp/default.json (Docker 28), kept in our own form; `socketcall` is left out, see seccomp.ts.
 */

export interface CallGroup {
  /** Names, separated by spaces. */
  readonly calls: string;
  /** Missing: allowed. A number: refused with this errno. */
  readonly refuse?: number;
  /** One condition on one argument; of a masked one `value` is the mask, `wanted` what is behind it, 0 unless told. */
  readonly when?: {
    readonly argument: number;
    readonly op: string;
    readonly value: number;
    readonly wanted?: number;
  };
  /** Only where the container has all of these capabilities. */
  readonly with?: readonly string[];
  /** Only where it has none of these. */
  readonly without?: readonly string[];
  /** Only on these architectures, in Go's names. */
  readonly on?: readonly string[];
  readonly notOn?: readonly string[];
  /** Only from this kernel on. */
  readonly since?: string;
}

const joined = (text: string): string => text.trim().split(/\s+/).join(" ");

/**
 * Every family but AF_ALG (38) and AF_VSOCK (40), as masks of the argument's lower half. A family is an int: the kernel
 * takes nothing else of the argument, so that 2^32 + 38 is AF_ALG too, which by Docker's own rule is "greater than 40".
 */
const families: readonly CallGroup[] = [
  [0xffff_ffe0, 0],
  [0xffff_fffc, 32],
  [0xffff_fffe, 36],
  [0xffff_ffff, 39],
  [0xffff_ffff, 41],
  [0xffff_fffe, 42],
  [0xffff_fffc, 44],
].map(([value = 0, wanted = 0]) => ({
  calls: "socket",
  when: { argument: 0, op: "SCMP_CMP_MASKED_EQ", value, wanted },
}));

export const callGroups: readonly CallGroup[] = [
  {
    calls: joined(`
      accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
      chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
      clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
      copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
      epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
      exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir
      fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
      flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
      fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv
      futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32
      getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid
      getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
      get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid
      gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
      inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents
      io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
      landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
      listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr
      lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir
      mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify
      mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
      mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at
      nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal
      pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
      preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
      readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
      remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall
      riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
      rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
      sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
      sched_get_priority_min sched_getscheduler sched_rr_get_interval
      sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
      sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
      semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32
      setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority
      setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
      setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid
      setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
      signalfd4 sigprocmask sigreturn socketpair splice stat stat64 statfs statfs64 statmount
      statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
      timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
      timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
      tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat
      utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
    `),
  },
  { calls: "process_vm_readv process_vm_writev ptrace", since: "4.8" },
  ...families,
  { calls: "personality", when: { argument: 0, op: "SCMP_CMP_EQ", value: 0 } },
  { calls: "personality", when: { argument: 0, op: "SCMP_CMP_EQ", value: 8 } },
  { calls: "personality", when: { argument: 0, op: "SCMP_CMP_EQ", value: 131072 } },
  { calls: "personality", when: { argument: 0, op: "SCMP_CMP_EQ", value: 131080 } },
  { calls: "personality", when: { argument: 0, op: "SCMP_CMP_EQ", value: 4294967295 } },
  { calls: "sync_file_range2 swapcontext", on: ["ppc64le"] },
  {
    calls: joined(`
      arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls
    `),
    on: ["arm", "arm64"],
  },
  { calls: "arch_prctl", on: ["amd64", "x32"] },
  { calls: "modify_ldt", on: ["amd64", "x32", "x86"] },
  { calls: "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", on: ["s390", "s390x"] },
  { calls: "riscv_flush_icache", on: ["riscv64"] },
  { calls: "open_by_handle_at", with: ["CAP_DAC_READ_SEARCH"] },
  {
    calls: joined(`
      bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
      lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
      open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
      umount umount2 unshare
    `),
    with: ["CAP_SYS_ADMIN"],
  },
  {
    calls: "clone",
    when: { argument: 0, op: "SCMP_CMP_MASKED_EQ", value: 2114060288 },
    without: ["CAP_SYS_ADMIN"],
    notOn: ["s390", "s390x"],
  },
  {
    calls: "clone",
    when: { argument: 1, op: "SCMP_CMP_MASKED_EQ", value: 2114060288 },
    without: ["CAP_SYS_ADMIN"],
    on: ["s390", "s390x"],
  },
  { calls: "clone3", refuse: 38, without: ["CAP_SYS_ADMIN"] },
  { calls: "reboot", with: ["CAP_SYS_BOOT"] },
  { calls: "chroot", with: ["CAP_SYS_CHROOT"] },
  { calls: "delete_module init_module finit_module", with: ["CAP_SYS_MODULE"] },
  { calls: "acct", with: ["CAP_SYS_PACCT"] },
  {
    calls: "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    with: ["CAP_SYS_PTRACE"],
  },
  { calls: "iopl ioperm", with: ["CAP_SYS_RAWIO"] },
  { calls: "settimeofday stime clock_settime clock_settime64", with: ["CAP_SYS_TIME"] },
  { calls: "vhangup", with: ["CAP_SYS_TTY_CONFIG"] },
  { calls: "get_mempolicy mbind set_mempolicy set_mempolicy_home_node", with: ["CAP_SYS_NICE"] },
  { calls: "syslog", with: ["CAP_SYSLOG"] },
  { calls: "bpf", with: ["CAP_BPF"] },
  { calls: "perf_event_open", with: ["CAP_PERFMON"] },
];
